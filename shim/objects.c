#include "objects.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys.h"

static void describe(const struct dl_phdr_info *info, struct object *o)
{
	*o = (struct object){ .base = info->dlpi_addr, .start = UINTPTR_MAX };
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + h->p_vaddr, to = from + h->p_memsz;
		if (h->p_type == PT_LOAD) {
			o->start = from < o->start ? from : o->start;
			o->end = to > o->end ? to : o->end;
		} else if (h->p_type == PT_GNU_RELRO) {
			o->relro = from;
			o->relro_end = to;
		} else if (h->p_type == PT_DYNAMIC) {
			o->dynamic = (const ElfW(Dyn) *)from; /* NOLINT(performance-no-int-to-ptr) */
		}
	}
	if (info->dlpi_name && strlen(info->dlpi_name) < sizeof o->name)
		strcpy(o->name, info->dlpi_name);
}

struct search {
	uintptr_t inside;
	struct object *o;
	size_t cap, count;
};

static int holds(struct dl_phdr_info *info, size_t size, void *arg)
{
	const struct search *s = arg;
	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type == PT_LOAD && s->inside - info->dlpi_addr - h->p_vaddr < h->p_memsz) {
			describe(info, s->o);
			return 1;
		}
	}
	return 0;
}

bool objects_find(const void *inside, struct object *o)
{
	struct search s = { .inside = (uintptr_t)inside, .o = o };
	return dl_iterate_phdr(holds, &s);
}

static int take(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	(void)size;
	if (s->count < s->cap)
		describe(info, &s->o[s->count]);
	s->count++;
	return 0;
}

size_t objects_list(struct object **list)
{
	struct search s = { .cap = 0 };
	do { /* more may come in between */
		free(s.o);
		s.cap = s.count + 16;
		s.count = 0;
		s.o = calloc(s.cap, sizeof *s.o);
		if (s.o)
			dl_iterate_phdr(take, &s);
	} while (s.o && s.count > s.cap);
	*list = s.o;
	return s.count;
}

/* The dynamic linker closes whole pages: the last, incomplete one stays open. */
static bool protect(const struct object *o, int prot)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = o->relro & ~(page - 1), to = o->relro_end & ~(page - 1);
	return from >= to || sys3(SYS_mprotect, from, to - from, prot) == 0;
}

bool objects_open(const struct object *o)
{
	return protect(o, PROT_READ | PROT_WRITE);
}

bool objects_close(const struct object *o)
{
	return protect(o, PROT_READ);
}
