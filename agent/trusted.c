#include "trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

int trusted_fd(int fd, const char *path, mode_t forbidden, struct err *err)
{
	const char *shown = TEXT(path, strlen(path));
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "%s", shown);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_REJECTED, "%s is not a regular file", shown);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ERR_REJECTED, "%s belongs to uid %u: it must be yours or root's", shown, st.st_uid);
	if (st.st_mode & forbidden & 022)
		return err_set(err, ERR_REJECTED, "others may write %s (mode %04o): chmod go-w %s", shown, st.st_mode & 07777u, shown);
	if (st.st_mode & forbidden)
		return err_set(err, ERR_REJECTED, "others may read %s (mode %04o): chmod 600 %s", shown, st.st_mode & 07777u, shown);
	return 0;
}

/* O_NONBLOCK: a FIFO is refused, not waited for. */
static int open_file(const char *path, mode_t forbidden, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return err_sys(err, errno, "%s", TEXT(path, strlen(path)));
	if (trusted_fd(fd, path, forbidden, err)) {
		close(fd);
		return -1;
	}
	return fd;
}

int trusted_check(const char *path, mode_t forbidden, struct err *err)
{
	int fd = open_file(path, forbidden, err);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

struct secret *trusted_read(const char *path, mode_t forbidden, size_t max, struct err *err)
{
	int fd = open_file(path, forbidden, err);
	struct secret *whole = NULL, *room = NULL;
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return NULL;
	room = secret_new(max + 1);
	while (room && len <= max && n > 0) {
		n = read(fd, room->data + len, room->len - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	if (!room)
		err_sys(err, ENOMEM, "%s", TEXT(path, strlen(path)));
	else if (n < 0)
		err_sys(err, errno, "%s", TEXT(path, strlen(path)));
	else if (len > max)
		err_set(err, ERR_FORMAT, "%s has more than %zu bytes", TEXT(path, strlen(path)), max);
	else if (!(whole = secret_copy(room->data, len)))
		err_sys(err, ENOMEM, "%s", TEXT(path, strlen(path)));
	secret_free(room);
	close(fd);
	return whole;
}
