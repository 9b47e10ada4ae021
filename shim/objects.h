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

/* All that are loaded, in *list, which the caller frees. Returns how many; 0 and NULL: no memory. */
size_t objects_list(struct object **list);

/* Between the two, words of it that are read-only can be written, and read all the time. false: the kernel refuses. */
bool objects_open(const struct object *o);
bool objects_close(const struct object *o);

#endif
