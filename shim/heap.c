#include "heap.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "aead.h"
#include "lock.h"
#include "sha256.h"
#include "source.h"

#define ARENA (256u << 10)  /* bytes mapped at a time */
#define CLASS_MIN 5         /* 32 bytes */
#define CLASS_MAX 15        /* 32 KiB; above: a mapping of its own */

/* In front of every block; keeps the 16-byte alignment. */
struct block {
	size_t size; /* usable bytes */
	struct block *next;
};

static struct lock lock = LOCK_INIT;
static struct block *free_list[CLASS_MAX + 1];
static char *arena;
static size_t arena_left;

static _Atomic pthread_t quiet; /* a thread that has all signals blocked for longer, or 0 */

static bool is_quiet(void)
{
	return atomic_load_explicit(&quiet, memory_order_relaxed) == pthread_self();
}

static lock_saved enter(void)
{
	if (!is_quiet())
		return lock_acquire(&lock);
	pthread_mutex_lock(&lock.mutex);
	return 0;
}

static void leave(lock_saved saved)
{
	if (!is_quiet()) {
		lock_release(&lock, saved);
		return;
	}
	pthread_mutex_unlock(&lock.mutex);
}

static int class_of(size_t size)
{
	int c = CLASS_MIN;
	while (((size_t)1 << c) < size)
		c++;
	return c;
}

static void *heap_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	if (size == 0 || size > SIZE_MAX / 2)
		return NULL;
	struct block *b;
	if (size > (size_t)1 << CLASS_MAX) {
		b = source_alloc(size + sizeof *b);
		if (b)
			b->size = size;
		return b ? b + 1 : NULL;
	}
	int c = class_of(size);
	size_t whole = ((size_t)1 << c) + sizeof *b;
	lock_saved saved = enter();
	b = free_list[c];
	if (b) {
		free_list[c] = b->next;
	} else {
		if (arena_left < whole) { /* the rest of the old arena is given up */
			arena_left = 0;
			lock_step();
			arena = source_alloc(ARENA);
			lock_step();
			arena_left = arena ? ARENA : 0;
		}
		if (arena_left >= whole) {
			b = (struct block *)(void *)arena;
			b->size = (size_t)1 << c;
			arena_left -= whole;
			lock_step();
			arena += whole;
		}
	}
	leave(saved);
	return b ? b + 1 : NULL;
}

static void heap_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (!p)
		return;
	struct block *b = (struct block *)p - 1;
	OPENSSL_cleanse(p, b->size);
	if (b->size > (size_t)1 << CLASS_MAX) {
		source_free(b, b->size + sizeof *b);
		return;
	}
	int c = class_of(b->size);
	lock_saved saved = enter();
	b->next = free_list[c];
	lock_step();
	free_list[c] = b;
	leave(saved);
}

static void *heap_realloc(void *p, size_t size, const char *file, int line)
{
	if (!p)
		return heap_malloc(size, file, line);
	struct block *b = (struct block *)p - 1;
	if (size == 0) {
		heap_free(p, file, line);
		return NULL;
	}
	if (size <= b->size)
		return p;
	void *q = heap_malloc(size, file, line);
	if (q) {
		memcpy(q, p, b->size);
		heap_free(p, file, line);
	}
	return q;
}

void heap_install(void)
{
	CRYPTO_set_mem_functions(heap_malloc, heap_realloc, heap_free);
}

/* Some thousand blocks: signals are blocked once, and not for each. */
void heap_start_openssl(void)
{
	pthread_t nobody = 0;
	lock_saved saved = lock_signals();
	bool own = atomic_compare_exchange_strong(&quiet, &nobody, pthread_self());
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS |
	                    OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL);
	aead_free(aead_new(AEAD_AES256GCM)); /* the first brings all */
	sha256_free(sha256_new());
	if (own)
		atomic_store(&quiet, 0);
	lock_signals_restore(saved);
}

void heap_fork_child(void)
{
	quiet = 0;
	lock = (struct lock)LOCK_INIT;
}
