#include "fragments.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "lock.h"
#include "ranges.h"
#include "source.h"

#define SETS 256 /* chosen by page and mapping */
#define WAYS 4

struct entry {
	uint64_t page, from, to; /* from == to: free */
	uint32_t id, used;
};

static struct lock lock = LOCK_INIT;
static uint32_t age;
static struct entry entries[SETS * WAYS];
static uint8_t *_Atomic frames; /* SETS * WAYS pages */

int fragments_start(void)
{
	size_t bytes = SETS * WAYS * ranges_page();
	uint8_t *none = NULL, *mem;
	if (atomic_load(&frames))
		return 0;
	mem = source_alloc(bytes);
	if (!mem)
		return -ENOMEM;
	sys3(SYS_madvise, mem, bytes, MADV_WIPEONFORK);
	if (!atomic_compare_exchange_strong(&frames, &none, mem))
		source_free(mem, bytes);
	return 0;
}

static struct entry *set_of(uint32_t id, uint64_t page)
{
	uint64_t h = (page / ranges_page() + id) * 0x9e3779b97f4a7c15u;
	return &entries[(h >> 56) % SETS * WAYS];
}

static uint8_t *frame_of(const struct entry *e)
{
	return atomic_load(&frames) + (size_t)(e - entries) * ranges_page();
}

/* A part of the page that overlaps or touches [from, to). A page may have several that don't touch: a third chunk between them is missing. */
static struct entry *find(uint32_t id, uint64_t page, uint64_t from, uint64_t to)
{
	struct entry *set = set_of(id, page);
	for (int i = 0; i < WAYS; i++)
		if (set[i].from < set[i].to && set[i].id == id && set[i].page == page && set[i].from <= to && from <= set[i].to)
			return &set[i];
	return NULL;
}

static struct entry *room(uint32_t id, uint64_t page)
{
	struct entry *set = set_of(id, page), *e = set;
	for (int i = 0; i < WAYS; i++) {
		if (set[i].from == set[i].to)
			return &set[i];
		if (set[i].used < e->used)
			e = &set[i];
	}
	return e;
}

struct fragment fragments_look(uint32_t id, uint64_t page)
{
	struct fragment f = { 0, 0 };
	lock_saved saved = lock_acquire(&lock);
	const struct entry *e = find(id, page, page, page);
	if (!e)
		e = find(id, page, page, UINT64_MAX);
	if (e)
		f = (struct fragment){ e->from, e->to };
	lock_release(&lock, saved);
	return f;
}

bool fragments_add(uint32_t id, uint64_t page, uint64_t end, uint64_t *from, uint64_t *to, uint8_t *frame)
{
	lock_saved saved = lock_acquire(&lock);
	struct entry *e;
	while ((e = find(id, page, *from, *to))) {
		uint64_t known_from = e->from, known_to = e->to;
		if (known_from < *from) {
			memcpy(frame + (known_from - page), frame_of(e) + (known_from - page), (size_t)(*from - known_from));
			*from = known_from;
		}
		if (known_to > *to) {
			memcpy(frame + (*to - page), frame_of(e) + (*to - page), (size_t)(known_to - *to));
			*to = known_to;
		}
		e->to = e->from; /* out first: a child of this moment finds nothing rather than half */
		lock_step();
	}
	bool complete = *from == page && *to == end;
	if (!complete) {
		e = room(id, page);
		e->to = e->from;
		lock_step();
		memcpy(frame_of(e) + (*from - page), frame + (*from - page), (size_t)(*to - *from));
		*e = (struct entry){ .page = page, .from = *from, .to = *from, .id = id, .used = ++age };
		lock_step();
		e->to = *to;
	}
	lock_release(&lock, saved);
	return complete;
}

void fragments_fork_child(void)
{
	lock = (struct lock)LOCK_INIT;
	for (int i = 0; i < SETS * WAYS; i++)
		entries[i].to = entries[i].from;
}
