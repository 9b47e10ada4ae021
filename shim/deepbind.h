/*
 * deepbind: libraries that are opened with RTLD_DEEPBIND.
 *
 * Such a library looks for libc's functions in itself and in what it was linked with before it looks where our hooks are, and so finds libc's own.
 * Its references are changed to the hooks at the next dlsym(), since nothing in it can be called before, but for its constructors.
 *
 * Thread safe. Not for signal handlers, as dlopen() and dlsym() are not.
 */
#ifndef SHIM_DEEPBIND_H
#define SHIM_DEEPBIND_H

/* Such a library is about to be opened. */
void deepbind_coming(void);

/* From dlsym(): changes what has come. Cheap where nothing has. */
void deepbind_look(void);

#endif
