/*
 * A malloc of somebody's with one lock, which it holds over fork() by handlers that it registers at its first use, as jemalloc does. Called by the
 * thread that holds it (by another fork handler, that is) it ends the process instead of waiting for ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

extern void *__libc_malloc(size_t len);
extern void *__libc_calloc(size_t count, size_t len);
extern void *__libc_realloc(void *p, size_t len);
extern void __libc_free(void *p);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic pthread_t forking;
static int registered;

static void before(void)
{
	pthread_mutex_lock(&lock);
	forking = pthread_self();
}

static void after(void)
{
	forking = 0;
	pthread_mutex_unlock(&lock);
}

static void enter(void)
{
	static const char text[] = "malloc in a fork handler while its lock is held\n";
	if (forking == pthread_self()) {
		(void)!write(2, text, sizeof text - 1);
		_exit(97);
	}
	pthread_mutex_lock(&lock);
	if (!registered) {
		registered = 1;
		pthread_atfork(before, after, after);
	}
}

void *malloc(size_t len)
{
	enter();
	void *p = __libc_malloc(len);
	pthread_mutex_unlock(&lock);
	return p;
}

void *calloc(size_t count, size_t len)
{
	enter();
	void *p = __libc_calloc(count, len);
	pthread_mutex_unlock(&lock);
	return p;
}

void *realloc(void *old, size_t len)
{
	enter();
	void *p = __libc_realloc(old, len);
	pthread_mutex_unlock(&lock);
	return p;
}

void free(void *p)
{
	if (!p)
		return;
	enter();
	__libc_free(p);
	pthread_mutex_unlock(&lock);
}
