/* doors_open FILE HEADER EDGE: every way by which a descriptor, or a duplicate of one, comes into a process; what it then reads and says. */
#include "doors.h"

#include <linux/openat2.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CHECK_LEN 8192

/* What a descriptor gives by read, pread and mmap, about the edge; its flags; its offset. O_DIRECT wants all to be aligned. */
static void show(const char *name, int fd)
{
	char text[3][64];
	off_t from = doors_edge / 4096 * 4096, skew = fcntl(fd, F_GETFL) & O_DIRECT ? 0 : 7;
	if (fd < 0) {
		printf("%s %s\n", name, strerrorname_np(errno));
		return;
	}
	lseek(fd, from + skew, SEEK_SET);
	long n = read(fd, doors_buf, CHECK_LEN);
	doors_outcome(text[0], n, doors_buf);
	n = pread(fd, doors_buf, CHECK_LEN, skew);
	doors_outcome(text[1], n, doors_buf);
	void *p = mmap(NULL, CHECK_LEN, PROT_READ, MAP_PRIVATE, fd, from);
	doors_outcome(text[2], p == MAP_FAILED ? -1 : CHECK_LEN, p);
	if (p != MAP_FAILED)
		munmap(p, CHECK_LEN);
	printf("%s read %s pread %s mmap %s flags %x cloexec %d at %lld\n", name, text[0], text[1], text[2], fcntl(fd, F_GETFL) & ~O_LARGEFILE,
	       fcntl(fd, F_GETFD), (long long)lseek(fd, 0, SEEK_CUR));
}

static void show_and_close(const char *name, int fd)
{
	show(name, fd);
	if (fd >= 0)
		close(fd);
}

/* A number that was a plain file's a moment ago, so that what was known of it is wrong. */
static void plain_before(int fd)
{
	char c;
	int plain = open("/etc/passwd", O_RDONLY);
	if (plain < 0 || read(plain, &c, 1) != 1)
		doors_die("/etc/passwd");
	if (plain != fd) {
		dup2(plain, fd);
		close(plain);
		if (read(fd, &c, 1) != 1)
			doors_die("read");
	}
}

/*
 * The lowest free number: it was path's, and was freed behind everybody's back, as by a library that calls the kernel itself. What is known of it
 * is wrong.
 */
static int stale(const char *path)
{
	char c;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, &c, 1) != 1)
		doors_die(path);
#if defined(__x86_64__)
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"((long)SYS_close), "D"((long)fd) : "rcx", "r11", "memory");
#else
	close(fd);
#endif
	return fd;
}

/* ---- opening ---- */

typedef int open_fn(const char *, int, ...);
typedef int openat_fn(int, const char *, int, ...);
typedef int dup2_fn(int, int);
typedef int fcntl_fn(int, int, ...);
typedef int close_fn(int);

#define AS(type, name) ((type *)(uintptr_t)doors_find(name))

static void opens(void)
{
	static const char *const names[] = { "open", "open64", "__open", "__open64", "__open_2", "__open64_2" };
	static const char *const at_names[] = { "openat", "openat64", "__openat_2", "__openat64_2" };
	static const struct {
		const char *name;
		int flags;
	} flags[] = { { "rdonly", O_RDONLY }, { "cloexec", O_RDONLY | O_CLOEXEC }, { "rdwr", O_RDWR }, { "direct", O_RDONLY | O_DIRECT },
		      { "rdwr,direct", O_RDWR | O_DIRECT }, { "nonblock,noatime", O_RDONLY | O_NONBLOCK | O_NOATIME }, { "nofollow", O_RDONLY | O_NOFOLLOW } };
	char label[128], folder[4096];
	snprintf(folder, sizeof folder, "%s", doors_path);
	*strrchr(folder, '/') = '\0';
	const char *base = strrchr(doors_path, '/') + 1;
	int dir = open(folder, O_RDONLY | O_DIRECTORY);
	for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++) {
		for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
			snprintf(label, sizeof label, "%s %s", names[i], flags[f].name);
			show_and_close(label, AS(open_fn, names[i])(doors_path, flags[f].flags));
		}
		for (size_t i = 0; i < sizeof at_names / sizeof at_names[0]; i++) {
			snprintf(label, sizeof label, "%s %s", at_names[i], flags[f].name);
			show_and_close(label, AS(openat_fn, at_names[i])(dir, base, flags[f].flags));
		}
		struct open_how how = { .flags = (uint64_t)flags[f].flags };
		snprintf(label, sizeof label, "syscall,openat2 %s", flags[f].name);
		show_and_close(label, (int)syscall(SYS_openat2, dir, base, &how, sizeof how));
		snprintf(label, sizeof label, "syscall,openat %s", flags[f].name);
		show_and_close(label, (int)syscall(SYS_openat, dir, base, flags[f].flags, 0));
#ifdef SYS_open
		snprintf(label, sizeof label, "syscall,open %s", flags[f].name);
		show_and_close(label, (int)syscall(SYS_open, doors_path, flags[f].flags, 0));
#endif
	}
	show_and_close("open rdwr,creat", open(doors_path, O_RDWR | O_CREAT, 0600));
	show_and_close("open creat,excl", open(doors_path, O_RDWR | O_CREAT | O_EXCL, 0600));
	show_and_close("open absent", open("/nonexistent/x.safetensors", O_RDONLY));
	int fd = openat(dir, base, O_PATH); /* can be neither read nor mapped; what is opened through it can */
	char c;
	printf("openat path,read %s\n", read(fd, &c, 1) < 0 ? strerrorname_np(errno) : "read");
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	show_and_close("open /proc/self/fd of a path", open(proc, O_RDONLY));
	close(fd);
	fd = open(doors_path, O_RDONLY);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	show_and_close("open /proc/self/fd", open(proc, O_RDONLY));
	show_and_close("open /proc/self/fd rdwr", open(proc, O_RDWR));
	snprintf(proc, sizeof proc, "/dev/fd/%d", fd);
	show_and_close("open /dev/fd", open(proc, O_RDONLY));
	close(fd);
	close(dir);
}

/* Needs CAP_DAC_READ_SEARCH and a file system with handles: where the kernel refuses it to both, the lines are the same. */
static void handles(void)
{
	struct {
		struct file_handle h;
		unsigned char room[128];
	} handle = { .h.handle_bytes = 128 };
	int mount_id;
	char folder[4096];
	snprintf(folder, sizeof folder, "%s", doors_path);
	*strrchr(folder, '/') = '\0';
	if (name_to_handle_at(AT_FDCWD, doors_path, &handle.h, &mount_id, 0) < 0) {
		printf("name_to_handle_at %s\n", strerrorname_np(errno));
		return;
	}
	int mount = open(folder, O_RDONLY | O_DIRECTORY);
	show_and_close("open_by_handle_at rdonly", open_by_handle_at(mount, &handle.h, O_RDONLY));
	show_and_close("open_by_handle_at rdwr", open_by_handle_at(mount, &handle.h, O_RDWR));
	show_and_close("syscall,open_by_handle_at rdonly", (int)syscall(SYS_open_by_handle_at, mount, &handle.h, O_RDONLY));
	close(mount);
}

/* ---- duplicates ---- */

static void duplicates(void)
{
	int fd = open(doors_path, O_RDONLY), to = 200, got;
	show_and_close("dup", dup(fd));
	plain_before(to);
	show("dup2", dup2(fd, to));
	plain_before(to);
	show("__dup2", AS(dup2_fn, "__dup2")(fd, to));
	plain_before(to);
	show("dup3 cloexec", dup3(fd, to, O_CLOEXEC));
	show("dup2 itself", dup2(fd, fd));
	close(to);
	show_and_close("fcntl dupfd", fcntl(fd, F_DUPFD, 100));
	show_and_close("fcntl64 dupfd_cloexec", AS(fcntl_fn, "fcntl64")(fd, F_DUPFD_CLOEXEC, 100));
	show_and_close("__fcntl dupfd", AS(fcntl_fn, "__fcntl")(fd, F_DUPFD, 100));
	show_and_close("syscall,dup", (int)syscall(SYS_dup, fd));
	show_and_close("syscall,fcntl dupfd", (int)syscall(SYS_fcntl, fd, F_DUPFD, 100));
	plain_before(to);
	show_and_close("syscall,dup3", (int)syscall(SYS_dup3, fd, to, 0));
	int pidfd = pidfd_open(getpid(), 0);
	to = stale("/etc/passwd");
	got = pidfd_getfd(pidfd, fd, 0);
	printf("pidfd_getfd number %d\n", got == to);
	show_and_close("pidfd_getfd", got);
	to = stale("/etc/passwd");
	show_and_close("syscall,pidfd_getfd", (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0));
	close(pidfd);
	/* one offset for both */
	got = dup(fd);
	lseek(fd, doors_edge, SEEK_SET);
	char text[64];
	if (read(got, doors_buf, 100) != 100)
		doors_die("read");
	long n = read(fd, doors_buf, 100);
	printf("dup shares-the-offset %s\n", doors_outcome(text, n, doors_buf));
	close(got);
	/* flags that are set later */
	fcntl(fd, F_SETFL, O_DIRECT | O_NONBLOCK);
	show("fcntl setfl direct", fd);
	fcntl(fd, F_SETFL, 0);
	show_and_close("fcntl setfl none", fd);
	show("closed", fd);
}

/* ---- from another process ---- */

enum receive { BY_RECVMSG, BY_RECVMMSG, BY_NUMBER, BY_NUMBER_MANY };

static void received(const char *name, enum receive how)
{
	int ends[2], fd = open(doors_path, O_RDONLY), got = -1;
	char byte = 'x';
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room };
	struct mmsghdr many = { .msg_hdr = msg };
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		doors_die("socketpair");
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	if (sendmsg(ends[0], &msg, 0) != 1)
		doors_die("sendmsg");
	int next = stale("/etc/passwd");
	msg.msg_controllen = sizeof control.room;
	long n = how == BY_RECVMSG    ? recvmsg(ends[1], &msg, 0)
	         : how == BY_RECVMMSG ? recvmmsg(ends[1], &many, 1, 0, NULL)
	         : how == BY_NUMBER   ? syscall(SYS_recvmsg, ends[1], &msg, 0)
	                              : syscall(SYS_recvmmsg, ends[1], &many, 1, 0, NULL);
	c = CMSG_FIRSTHDR(&msg);
	if (n != 1 || !c)
		doors_die("recvmsg");
	memcpy(&got, CMSG_DATA(c), sizeof got);
	printf("%s number %d\n", name, got == next);
	show_and_close(name, got);
	close(fd);
	close(ends[0]);
	close(ends[1]);
}

/* This program once more, after exec: descriptor 100 is the file, by no call of its own. */
static void inherited(const char *name, int flags, char **argv)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open(doors_path, flags);
		dup2(fd, 100);
		execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], "--inherited", name, (char *)NULL);
		_exit(2);
	}
	int status;
	waitpid(pid, &status, 0);
	if (status)
		doors_die(name);
}

static void forked(void)
{
	int fd = open(doors_path, O_RDONLY), status;
	fflush(stdout);
	if (fork() == 0) {
		show_and_close("fork child", fd);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	show_and_close("fork parent", fd);
}

/* ---- closing: what was a view's number is a plain file's ---- */

static void closed_and_used_again(const char *name, int how)
{
	char text[64];
	int fd = open(doors_path, O_RDONLY);
	if (read(fd, doors_buf, 10) != 10)
		doors_die("read");
	switch (how) {
	case 0:
		close(fd);
		break;
	case 1:
		AS(close_fn, "__close")(fd);
		break;
	case 2:
		close_range((unsigned int)fd, (unsigned int)fd, 0);
		break;
	case 3:
		closefrom(fd);
		break;
	case 4:
		syscall(SYS_close, fd);
		break;
	default:
		fclose(fdopen(fd, "r"));
		break;
	}
	int again = open("/proc/self/exe", O_RDONLY);
	long n = read(again, doors_buf, 4);
	printf("%s then-plain %d %s\n", name, again == fd, doors_outcome(text, n, doors_buf));
	close(again);
}

/* The number was the model's; a file that no call of ours made has it now. */
static void after_a_model(void)
{
	char text[64];
	int number = stale(doors_path), fd = memfd_create("plain", 0);
	if (write(fd, "0123456789abcdef0123456789abcdef", 32) != 32)
		doors_die("memfd_create");
	long n = pread(fd, doors_buf, 32, 0);
	printf("memfd_create after-a-model number %d %s\n", fd == number, doors_outcome(text, n, doors_buf));
	lseek(fd, 5, SEEK_SET);
	n = read(fd, doors_buf, 32);
	printf("memfd_create after-a-model,read %s\n", doors_outcome(text, n, doors_buf));
	close(fd);
}

/* shm_open() opens past every hook; the number was a stream's on a plain file or a pipe, which libc closed by itself. */
static void after_a_stream(const char *how)
{
	char name[256], line[100], label[64];
	snprintf(name, sizeof name, "%s", getenv("DOORS_SHM") ? getenv("DOORS_SHM") : "/none");
	FILE *fp = strcmp(how, "pclose") == 0 ? popen("echo hello", "r") : fopen("/etc/passwd", "r");
	int number = fp ? fileno(fp) : -1;
	if (!fp || !fgets(line, sizeof line, fp))
		doors_die(how);
	if (strcmp(how, "pclose") == 0)
		pclose(fp);
	else if (strcmp(how, "freopen") == 0)
		fp = freopen("/nonexistent/file", "r", fp); /* NULL, and closed */
	else
		fclose(fp);
	int fd = shm_open(name, O_RDONLY, 0);
	snprintf(label, sizeof label, "shm_open after-%s", how);
	printf("%s number %d\n", label, fd == number);
	show_and_close(label, fd);
	/* cppcheck-suppress resourceLeak ; freopen() has closed it */
}

/* Ways to ask whether there is such a call. */
static void nothing_given(void)
{
	printf("syscall,clone3 nothing %ld %s\n", syscall(SYS_clone3, NULL, 0), strerrorname_np(errno));
	printf("syscall,io_submit nothing %ld %s\n", syscall(SYS_io_submit, 0, 1, NULL), strerrorname_np(errno));
}

int main(int argc, char **argv)
{
	doors_start(argc, argv);
	if (argc == 6) {
		int known = open(doors_path, O_RDONLY); /* what is known of the file is no leave to read by a descriptor that cannot */
		if (read(known, doors_buf, 10) != 10)
			doors_die(doors_path);
		show(argv[5], 100);
		close(known);
		return 0;
	}
	opens();
	handles();
	duplicates();
	received("recvmsg", BY_RECVMSG);
	received("recvmmsg", BY_RECVMMSG);
	received("syscall,recvmsg", BY_NUMBER);
	received("syscall,recvmmsg", BY_NUMBER_MANY);
	inherited("inherited", O_RDONLY, argv);
	inherited("inherited,wronly", O_WRONLY, argv);
	forked();
	after_a_stream("fclose");
	after_a_stream("pclose");
	after_a_stream("freopen");
	nothing_given();
	after_a_model();
	static const char *const closers[] = { "close", "__close", "close_range", "closefrom", "syscall,close", "fclose" };
	for (int i = 0; i < 6; i++)
		closed_and_used_again(closers[i], i);
	return 0;
}
