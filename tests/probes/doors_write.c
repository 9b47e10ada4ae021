/*
 * doors_write FILE rdonly|rdwr: every call that writes to a file, on a descriptor of FILE. A line each: CALL and how it ended. What is written to
 * an encrypted file that was asked for with O_RDWR must end as on a read-only descriptor of any other.
 */
#include "doors.h"

#include <aio.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static void ended(const char *call, long r)
{
	printf("%s %s\n", call, r >= 0 ? "done" : strerrorname_np(errno));
	errno = 0;
}

static void by_stream(const char *how, FILE *fp)
{
	if (!fp) {
		ended(how, -1);
		return;
	}
	setvbuf(fp, NULL, _IONBF, 0);
	long r = fwrite("xyz", 1, 3, fp) == 3 ? 0 : -1;
	ended(how, r);
	fclose(fp);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		doors_die("usage: FILE rdonly|rdwr");
	bool rdwr = strcmp(argv[2], "rdwr") == 0;
	int fd = open(argv[1], rdwr ? O_RDWR : O_RDONLY), other = memfd_create("other", 0), ends[2];
	struct iovec v[2] = { { "ab", 2 }, { "cd", 2 } };
	off_t at = 100, zero = 0;
	if (fd < 0 || other < 0 || pipe(ends) < 0 || write(other, "12345678", 8) != 8 || write(ends[1], "12345678", 8) != 8)
		doors_die(argv[1]);
	errno = 0;
	ended("write", write(fd, "x", 1));
	ended("__write", ((ssize_t (*)(int, const void *, size_t))(uintptr_t)doors_find("__write"))(fd, "x", 1));
	ended("pwrite", pwrite(fd, "x", 1, 100));
	ended("pwrite64", pwrite64(fd, "x", 1, 100));
	ended("writev", writev(fd, v, 2));
	ended("pwritev", pwritev(fd, v, 2, 100));
	ended("pwritev2", pwritev2(fd, v, 2, 100, 0));
	ended("pwritev2,-1", pwritev2(fd, v, 2, -1, 0));
	ended("syscall,write", syscall(SYS_write, fd, "x", 1));
	ended("syscall,pwrite64", syscall(SYS_pwrite64, fd, "x", 1, 100L));
	ended("syscall,writev", syscall(SYS_writev, fd, v, 2));
	ended("sendfile", sendfile(fd, other, &zero, 8));
	zero = 0;
	ended("copy_file_range", copy_file_range(other, &zero, fd, &at, 8, 0));
	ended("splice", splice(ends[0], NULL, fd, &at, 8, 0));
	ended("ftruncate", ftruncate(fd, 10));
	ended("fallocate", fallocate(fd, 0, 0, 1 << 20));
	ended("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	errno = posix_fallocate(fd, 0, 1 << 24);
	ended("posix_fallocate", errno ? -1 : 0);
	struct aiocb cb = { .aio_fildes = fd, .aio_buf = "xyz", .aio_nbytes = 3, .aio_offset = 100, .aio_sigevent.sigev_notify = SIGEV_NONE };
	const struct aiocb *list[1] = { &cb };
	long r = aio_write(&cb);
	if (r == 0) {
		while (aio_error(&cb) == EINPROGRESS)
			(void)!aio_suspend(list, 1, NULL);
		errno = aio_error(&cb);
		r = aio_return(&cb);
	}
	ended("aio_write", r);
	FILE *null = fopen("/dev/null", "r");
	if (rdwr) {
		by_stream("fwrite", fopen(argv[1], "r+"));
		by_stream("fwrite,fdopen", fdopen(dup(fd), "r+"));
		by_stream("fwrite,freopen", freopen(argv[1], "r+", null));
		by_stream("fwrite,append", fopen(argv[1], "a+"));
	} else {
		by_stream("fwrite", fopen(argv[1], "r"));
		by_stream("fwrite,fdopen", fdopen(dup(fd), "r"));
		by_stream("fwrite,freopen", freopen(argv[1], "r", null));
		by_stream("fwrite,append", fopen(argv[1], "r"));
	}
	/* what needs no right to write works on both */
	ended("flock", flock(fd, LOCK_EX | LOCK_NB));
	ended("fsync", fsync(fd));
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	ended("read-lock", fcntl(fd, F_SETLK, &lock));
	ended("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
	ended("getlease", fcntl(fd, F_GETLEASE) == F_RDLCK ? 0 : -1);
	ended("no-lease", fcntl(fd, F_SETLEASE, F_UNLCK));
	ended("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	ended("fchmod", fchmod(fd, 0644));
	return 0;
}
