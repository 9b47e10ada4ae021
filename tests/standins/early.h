/* early_read(WHERE): what this moment's read, pread, mapping and stream say of the file that EARLY_FILE names: a line with a sum for each. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned int early_sum(const unsigned char *p, size_t len)
{
	unsigned int sum = 1;
	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static void early_read(const char *where, char **env)
{
	static unsigned char buf[100000];
	unsigned int sums[4] = { 0 };
	const char *path = NULL;
	for (; env && *env; env++)
		if (strncmp(*env, "EARLY_FILE=", 11) == 0)
			path = *env + 11;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	sums[0] = read(fd, buf, sizeof buf) == sizeof buf ? early_sum(buf, sizeof buf) : 0;
	sums[1] = pread(fd, buf, sizeof buf, 300000) == sizeof buf ? early_sum(buf, sizeof buf) : 0;
	const unsigned char *p = mmap(NULL, 400000, PROT_READ, MAP_SHARED, fd, 0);
	sums[2] = p != MAP_FAILED ? early_sum(p, 400000) : 0;
	FILE *f = fdopen(fd, "rb");
	sums[3] = f && fseek(f, 200000, SEEK_SET) == 0 && fread(buf, 1, 5000, f) == 5000 ? early_sum(buf, 5000) : 0;
	if (f)
		fclose(f);
	printf("%s %08x %08x %08x %08x\n", where, sums[0], sums[1], sums[2], sums[3]);
	fflush(stdout);
}
