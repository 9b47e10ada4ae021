/*
 * objects: what the dynamic linker has loaded, and words of it that are read-only once they are relocated.
 *
 * Thread safe. Takes the loader's locks for a moment, as dlsym() does: not for signal handlers.
 */
#ifndef SHIM_OBJECTS_H
#define SHIM_OBJECTS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct object {
	uintptr_t base, start, end;      /* added to its addresses; all of its memory */
	uintptr_t relro, relro_end;      /* bytes that are read-only after relocation; equal: none */
	const ElfW(Dyn) *dynamic;
	char name[512]; /* its path; "": the program, or longer than that */
};

/* The object that has the address in it. */
bool objects_find(const void *inside, struct object *o);

/* Those that were loaded after the first `known`, at most cap, into o. Returns how many there are; *all: how many are loaded. */
size_t objects_after(size_t known, struct object *o, size_t cap, size_t *all);

/* Between the two, words of it that are read-only can be written, and read all the time. false: the kernel refuses. */
bool objects_open(const struct object *o);
bool objects_close(const struct object *o);

#endif
