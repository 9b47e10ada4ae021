# moments.bash: a library that does something at a chosen call of the C library, so that no test needs luck with time.
# shellcheck shell=bash

# moments: makes moment.so in the current folder. `with moment CMD…`: at CMD's call number AT of those below (of the function ONLY, if that is
# set) the shell command DO runs before the call, or without DO the process is killed by SIGKILL. COUNT=FILE: how many calls there were.
moments() {
	preload moment <<-'C'
		#include <dlfcn.h>
		#include <fcntl.h>
		#include <signal.h>
		#include <stdatomic.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/stat.h>
		#include <unistd.h>
		static atomic_long calls;
		static void moment(const char *name)
		{
			const char *at = getenv("AT"), *only = getenv("ONLY"), *what = getenv("DO");
			if ((only && strcmp(only, name)) || ++calls != (at ? atol(at) : 0))
				return;
			if (!what)
				raise(SIGKILL);
			char cmd[4096];
			snprintf(cmd, sizeof cmd, "unset LD_PRELOAD; %s", what);
			if (system(cmd))
				abort();
		}
		__attribute__((destructor)) static void end(void)
		{
			const char *path = getenv("COUNT");
			FILE *f = path ? fopen(path, "w") : NULL;
			if (f) {
				fprintf(f, "%ld\n", (long)calls);
				fclose(f);
			}
		}
		#define CALL(ret, name, params, args) \
			ret name params \
			{ \
				ret(*next) params = dlsym(RTLD_NEXT, #name); \
				moment(#name); \
				return next args; \
			}
		/* COARSE: as on a file system that keeps whole seconds. */
		static int coarse(int ret, struct stat *st)
		{
			if (ret == 0 && getenv("COARSE"))
				st->st_mtim.tv_nsec = st->st_ctim.tv_nsec = 0;
			return ret;
		}
		int stat(const char *path, struct stat *st)
		{
			return coarse(fstatat(AT_FDCWD, path, st, 0), st);
		}
		int fstat(int fd, struct stat *st)
		{
			return coarse(fstatat(fd, "", st, AT_EMPTY_PATH), st);
		}
		CALL(int, mkostemp, (char *a, int b), (a, b))
		CALL(int, flock, (int a, int b), (a, b))
		CALL(int, fchmod, (int a, mode_t b), (a, b))
		CALL(int, chmod, (const char *a, mode_t b), (a, b))
		CALL(int, mkdir, (const char *a, mode_t b), (a, b))
		CALL(int, symlink, (const char *a, const char *b), (a, b))
		CALL(int, futimens, (int a, const struct timespec b[2]), (a, b))
		CALL(int, utimensat, (int a, const char *b, const struct timespec c[2], int d), (a, b, c, d))
		CALL(int, ftruncate, (int a, off_t b), (a, b))
		CALL(ssize_t, read, (int a, void *b, size_t c), (a, b, c))
		CALL(ssize_t, write, (int a, const void *b, size_t c), (a, b, c))
		CALL(ssize_t, pwrite, (int a, const void *b, size_t c, off_t d), (a, b, c, d))
		/* What is read of models comes by system calls that no library sees; but pieces of files are compared. */
		int memcmp(const void *a, const void *b, size_t n)
		{
			const unsigned char *p = a, *q = b;
			if (n >= 65536)
				moment("memcmp");
			for (; n > 0; p++, q++, n--)
				if (*p != *q)
					return *p - *q;
			return 0;
		}
		CALL(int, fsync, (int a), (a))
		CALL(int, fdatasync, (int a), (a))
		CALL(int, rename, (const char *a, const char *b), (a, b))
		CALL(int, renameat2, (int a, const char *b, int c, const char *d, unsigned int e), (a, b, c, d, e))
		CALL(int, link, (const char *a, const char *b), (a, b))
		CALL(int, unlink, (const char *a), (a))
		CALL(int, unlinkat, (int a, const char *b, int c), (a, b, c))
	C
}

# left [FOLDER]: the temporary files of ct that lie there, in all folders.
left() {
	find "${1:-.}" -name '.*.ct-tmp-??????'
}
