#include "heap.h"

#include <openssl/crypto.h>
#include <stdint.h>
#include <string.h>

#include "lock.h"
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
	lock_saved saved = lock_acquire(&lock);
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
	lock_release(&lock, saved);
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
	lock_saved saved = lock_acquire(&lock);
	b->next = free_list[c];
	lock_step();
	free_list[c] = b;
	lock_release(&lock, saved);
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

void heap_fork_child(void)
{
	lock = (struct lock)LOCK_INIT;
}
