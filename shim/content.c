#include "content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "header.h"
#include "source.h"
#include "sys.h"
#include "text.h"

#define FIRST 16    /* bytes looked at first */
#define BLOCK 4096u /* what an O_DIRECT read must be aligned to, at most */

static long pread_retry(int fd, void *buf, size_t len)
{
	long n;
	do
		n = sys_pread(fd, buf, len, 0);
	while (n == -EINTR);
	return n;
}

static long first_aligned(int fd, uint8_t first[FIRST])
{
	uint8_t *block = source_alloc(BLOCK);
	if (!block)
		return -ENOMEM;
	long n = pread_retry(fd, block, BLOCK);
	if (n > 0)
		memcpy(first, block, FIRST);
	source_free(block, BLOCK);
	return n > FIRST ? FIRST : n;
}

static uint8_t *read_header(int fd, size_t len, struct err *err)
{
	long flags = sys3(SYS_fcntl, fd, F_GETFL, 0);
	bool direct = flags >= 0 && (flags & O_DIRECT);
	uint8_t *raw = malloc(len);
	if (!raw) {
		err_sys(err, ENOMEM, "reading the header");
		return NULL;
	}
	if (direct)
		sys3(SYS_fcntl, fd, F_SETFL, flags & ~O_DIRECT);
	int r = source_read(fd, raw, len, 0, err);
	if (direct)
		sys3(SYS_fcntl, fd, F_SETFL, flags);
	if (r == 0)
		return raw;
	free(raw);
	return NULL;
}

int content_look(int fd, const struct stat *id, struct content *c, struct err *err)
{
	uint8_t first[FIRST];
	uint64_t total;
	*c = (struct content){ .kind = CONTENT_UNSURE };
	if (id->st_size <= (off_t)HEADER_PREFIX) /* files of /proc have no size: none of them is read here */
		return 0;
	long n = pread_retry(fd, first, FIRST);
	if (n == -EINVAL)
		n = first_aligned(fd, first);
	if (n == -EBADF) { /* not open for reading */
		c->kind = CONTENT_PLAIN;
		return 0;
	}
	if (n < 0)
		return err_sys(err, (int)-n, "reading the file");
	if (n <= (long)HEADER_PREFIX)
		return 0;
	if (header_look(first, (size_t)n, UINT64_MAX, &total) == HEADER_NOT)
		c->kind = CONTENT_PLAIN;
	if (header_look(first, (size_t)n, (uint64_t)id->st_size, &total) != HEADER_PERHAPS)
		return 0;
	c->raw = read_header(fd, (size_t)total, err);
	if (!c->raw)
		return -1;
	c->kind = CONTENT_HEADER;
	c->len = (size_t)total;
	c->smells = header_smells(c->raw, c->len);
	return 0;
}

void content_release(struct content *c)
{
	free(c->raw);
	c->raw = NULL;
}

void content_name(char *dst, size_t cap, int fd, const char *path)
{
	char proc[32], target[512];
	if (path && *path) {
		text_escape(dst, cap, path, strlen(path));
		return;
	}
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	long n = sys4(SYS_readlinkat, AT_FDCWD, proc, target, sizeof target);
	if (n > 0)
		text_escape(dst, cap, target, (size_t)n);
	else
		snprintf(dst, cap, "descriptor %d", fd);
}
