/*
 * pressure: does the machine, or the memory cgroup that we are in, run short of memory?
 *
 * Read by raw system calls from /proc/meminfo and from the cgroup's files (version 1 and 2; looked up once, at the first call). Thread and
 * signal safe.
 */
#ifndef SHIM_PRESSURE_H
#define SHIM_PRESSURE_H

#include <stddef.h>

/*
 * A margin of 1/16, between 32 MiB and 1 GiB, is kept free. Returns the bytes that should be given back now; 0: there is room, of *room bytes.
 */
size_t pressure_missing(size_t *room);

#endif
