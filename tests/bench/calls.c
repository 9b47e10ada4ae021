/*
 * calls nothing                 a C program's start and end
 * calls start N PROGRAM ENV     starts PROGRAM ("PROGRAM nothing") N times as it is and N times with ENV (NAME=VALUE) added, by turns; prints the
 *                               microseconds of each, "PLAIN WITH" a line
 * calls measure FOLDER          calls of plain files; prints "NAME NANOSECONDS" a line, the least of BATCHES batches
 *
 * The same program with and without the preload; see tests/bench/untouched. In FOLDER it makes its own files.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define BATCHES 25
#define CALLS 400
#define PIECE 4096

extern char **environ;

static char other[4096], bare[4096], model[4096];
static int known, null, scratch, pipes[2], sockets[2], no_file = -1;
static FILE *stream;
static char buf[PIECE];

static void need(int ok, const char *what)
{
	if (!ok)
		bench_fail(what);
}

/* ---- what is measured: one call each ---- */

static void open_read_close(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	need(fd >= 0 && read(fd, buf, PIECE) > 0 && close(fd) == 0, path);
}

static void open_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	need(fd >= 0 && close(fd) == 0, path);
}

static void stdio(const char *path)
{
	FILE *f = fopen(path, "re");
	need(f && fread(buf, 1, 100, f) == 100 && fclose(f) == 0, path);
}

static void read_other(void) { open_read_close(other); }
static void read_bare(void) { open_read_close(bare); }
static void read_model(void) { open_read_close(model); }
static void read_proc(void) { open_read_close("/proc/self/stat"); }
static void open_other(void) { open_close(other, O_RDONLY); }
static void open_write(void) { open_close(bare, O_WRONLY); }
static void open_device(void) { open_close("/dev/null", O_WRONLY); }
static void open_folder(void) { open_close("/", O_RDONLY | O_DIRECTORY); }
static void open_bare(void) { open_close(bare, O_RDONLY); }
static void open_model(void) { open_close(model, O_RDONLY); }
static void stdio_other(void) { stdio(other); }
static void stdio_bare(void) { stdio(bare); }
static void read_known(void) { need(pread(known, buf, PIECE, 0) == PIECE && lseek(known, 0, SEEK_SET) == 0 && read(known, buf, PIECE) == PIECE, "read"); }
static void pread_known(void) { need(pread(known, buf, PIECE, 0) == PIECE, "pread"); }
static void write_null(void) { need(write(null, buf, 100) == 100, "write"); }
static void pwrite_file(void) { need(pwrite(scratch, buf, 100, 0) == 100, "pwrite"); }
static void through_pipe(void) { need(write(pipes[1], buf, 100) == 100 && read(pipes[0], buf, 100) == 100, "pipe"); }
static void through_socket(void) { need(send(sockets[1], buf, 100, 0) == 100 && recv(sockets[0], buf, 100, 0) == 100, "socket"); }
static void fread_known(void) { need(fseek(stream, 0, SEEK_SET) == 0 && fread(buf, 1, 100, stream) == 100, "fread"); }
static void dup_close(void) { need(close(dup(known)) == 0, "dup"); }
static void fcntl_known(void) { need(fcntl(known, F_GETFL) >= 0, "fcntl"); }

static void map_anonymous(void)
{
	void *p = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, no_file, 0);
	need(p != MAP_FAILED && munmap(p, PIECE) == 0, "mmap");
}

static void map_known(void)
{
	void *p = mmap(NULL, PIECE, PROT_READ, MAP_PRIVATE, known, 0);
	need(p != MAP_FAILED && munmap(p, PIECE) == 0, "mmap");
}

static void allocate(void)
{
	void *volatile p = malloc(100);
	free(p);
}

static const struct {
	const char *name;
	void (*call)(void);
} calls[] = {
	{ "open+close,suffix", open_other },       { "open+close,writing", open_write },    { "open+close,device", open_device },
	{ "open+close,folder", open_folder },      { "open+close,bare", open_bare },        { "open+close,model", open_model },
	{ "open+read+close,suffix", read_other },  { "open+read+close,bare", read_bare },   { "open+read+close,model", read_model },
	{ "open+read+close,/proc", read_proc },    { "fopen+fread+fclose,suffix", stdio_other }, { "fopen+fread+fclose,bare", stdio_bare },
	{ "pread+lseek+read", read_known },        { "pread", pread_known },                { "write", write_null },
	{ "pwrite", pwrite_file },                 { "write+read,pipe", through_pipe },     { "send+recv", through_socket },
	{ "fseek+fread", fread_known },            { "mmap+munmap,anonymous", map_anonymous }, { "mmap+munmap,file", map_known },
	{ "dup+close", dup_close },                { "fcntl", fcntl_known },                { "malloc+free", allocate },
};

static void make_file(char *path, const char *folder, const char *name)
{
	snprintf(path, 4096, "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	need(f != NULL, path);
	for (int i = 0; i < 2000; i++)
		fprintf(f, "line %d of a plain file\n", i);
	need(fclose(f) == 0, path);
}

static void measure(const char *folder)
{
	double least[sizeof calls / sizeof *calls];
	make_file(other, folder, "file.txt");
	make_file(bare, folder, "file");
	make_file(model, folder, "file.safetensors");
	known = open(other, O_RDONLY | O_CLOEXEC);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	scratch = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	stream = fopen(other, "r");
	need(known >= 0 && null >= 0 && scratch >= 0 && stream, folder);
	need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "pipe");
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		least[i] = 1e9;
	for (int batch = 0; batch < BATCHES; batch++)
		for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
			calls[i].call();
			double start = bench_now();
			for (int k = 0; k < CALLS; k++)
				calls[i].call();
			double took = (bench_now() - start) / CALLS;
			least[i] = took < least[i] ? took : least[i];
		}
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		printf("%s %.1f\n", calls[i].name, 1e9 * least[i]);
}

static double started(const char *program, char **env)
{
	char *argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t)"nothing", NULL };
	int status;
	pid_t pid;
	double start = bench_now();
	need(posix_spawn(&pid, program, NULL, NULL, argv, env) == 0 && waitpid(pid, &status, 0) == pid && status == 0, program);
	return 1e6 * (bench_now() - start);
}

static void start(int count, const char *program, char *assignment)
{
	size_t n = 0;
	while (environ[n])
		n++;
	char **env = calloc(n + 2, sizeof *env);
	need(env != NULL, "calloc");
	memcpy(env + 1, environ, n * sizeof *env);
	env[0] = assignment;
	for (int i = 0; i < count; i++) {
		double first = started(program, i & 1 ? env : environ), second = started(program, i & 1 ? environ : env);
		printf("%.1f %.1f\n", i & 1 ? second : first, i & 1 ? first : second);
	}
	free(env);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "nothing") == 0)
		return 0;
	if (argc == 5 && strcmp(argv[1], "start") == 0)
		start(atoi(argv[2]), argv[3], argv[4]);
	else if (argc == 3 && strcmp(argv[1], "measure") == 0)
		measure(argv[2]);
	else
		return 2;
	return 0;
}
