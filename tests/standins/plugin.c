/* A library that a program opens with RTLD_DEEPBIND: what it reads it reads by names that it looks up in itself and libc first. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static ssize_t (*volatile by_pointer)(int, void *, size_t, off_t) = pread; /* volatile: a compiler would make a call of it */

/* Reads the first len bytes of a file into four buffers, each another way. The sum of what they returned. */
long plugin_read(const char *path, char *out[4], size_t len)
{
	static char room[8192]; /* of a known size: with _FORTIFY_SOURCE this is __read_chk() */
	int fd = open(path, O_RDONLY);
	long n = read(fd, room, len);
	memcpy(out[0], room, len);
	n += by_pointer(fd, out[1], len, 0);
	void *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p != MAP_FAILED) {
		memcpy(out[2], p, len);
		n += (long)len;
		munmap(p, len);
	}
	FILE *fp = fopen(path, "r");
	n += fp ? (long)fread(out[3], 1, len, fp) : 0;
	if (fp)
		fclose(fp);
	close(fd);
	return n;
}
