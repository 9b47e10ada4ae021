/*
 * deepbind: libraries that are opened with RTLD_DEEPBIND.
 *
 * Such a library looks for libc's functions in itself and in what it was linked with before it looks where our hooks are, and so finds libc's own.
 * When it has been opened, and before anybody is handed it, its references are changed to the hooks. Its constructors have run by then.
 *
 * Thread safe. Not for signal handlers, as dlopen() is not.
 */
#ifndef SHIM_DEEPBIND_H
#define SHIM_DEEPBIND_H

/*
 * dlopen(path, flags) by the next in line, as called from here: folders that only the caller's own object names (DT_RUNPATH) are not searched where
 * path has no slash. NULL: not found so, or malformed; dlerror() says what.
 */
void *deepbind_open(const char *path, int flags);

#endif
