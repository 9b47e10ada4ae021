/*
 * duration: times as people type them: seconds, or a number with s, m, h or d behind it. Pure function.
 */
#ifndef CT_DURATION_H
#define CT_DURATION_H

#include <stdbool.h>
#include <stdint.h>

/* 1 second … UINT32_MAX. false: not that; *seconds is unchanged. */
bool duration_parse(const char *text, uint32_t *seconds);

#endif
