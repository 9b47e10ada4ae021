/*
 * forks: what happens around a new process that gets a copy of our memory: fork() by pthread_atfork(), _Fork(), clone() and syscall() by
 * their hooks. No lock is taken (lock.h).
 *
 * threads: the child may have threads made. In one of _Fork() or clone() the host's malloc may be locked for ever, so there touches
 * are answered by the thread that makes them.
 */
#ifndef SHIM_FORKS_H
#define SHIM_FORKS_H

#include <stdbool.h>

void forks_before(void);
void forks_after(void); /* in the parent */
void forks_child(bool threads);

#endif
