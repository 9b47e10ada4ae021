/*
 * words: what a line of the configuration is made of. Pure functions.
 */
#ifndef CT_AGENT_WORDS_H
#define CT_AGENT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORDS_MAX 8

/*
 * Cuts a line into its words, in place. Between double quotes blanks and '#' belong to the word, and the quotes are left out. A
 * backslash makes the next character an ordinary one and stays before it, for fnmatch() to read again. '#' before a word starts a
 * comment. Returns how many words there are, or -1 with *why.
 */
int words_split(char *line, char *words[WORDS_MAX], const char **why);

/* Takes the backslashes out of a word that is no glob, in place. */
void words_plain(char *word);

/* A plain decimal number of at most max. */
bool words_number(const char *word, uint64_t max, uint64_t *v);

#endif
