/*
 * doors_stream FILE HEADER EDGE: stdio. Every way to a stream on the file, and every way to read one; libc's own calls behind them meet no hook.
 * It reads standard input, too: run it with FILE as descriptor 0.
 * doors_stream FILE HEADER EDGE WANT FROM TO: the bytes FROM … TO - 1 are a damaged chunk; all others must be WANT's.
 */
#include "doors.h"

#include <locale.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <wchar.h>

static char label[128];

/* ---- ways to read ---- */

static size_t by_fread(FILE *fp, unsigned char *p, size_t len)
{
	return fread(p, 1, len, fp);
}

static size_t by_fread_items(FILE *fp, unsigned char *p, size_t len)
{
	return fread(p, 7, len / 7, fp) * 7;
}

static size_t by_name(FILE *fp, unsigned char *p, size_t len, const char *name)
{
	return ((size_t (*)(void *, size_t, size_t, FILE *))(uintptr_t)doors_find(name))(p, 1, len, fp);
}

static size_t by_fread_unlocked(FILE *fp, unsigned char *p, size_t len)
{
	return by_name(fp, p, len, "fread_unlocked");
}

static size_t by_io_fread(FILE *fp, unsigned char *p, size_t len)
{
	return by_name(fp, p, len, "_IO_fread");
}

static size_t by_fread_chk(FILE *fp, unsigned char *p, size_t len)
{
	return ((size_t (*)(void *, size_t, size_t, size_t, FILE *))(uintptr_t)doors_find("__fread_chk"))(p, len, 1, len, fp);
}

static size_t by_fread_unlocked_chk(FILE *fp, unsigned char *p, size_t len)
{
	return ((size_t (*)(void *, size_t, size_t, size_t, FILE *))(uintptr_t)doors_find("__fread_unlocked_chk"))(p, len, 1, len, fp);
}

static size_t by_getc(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	for (int c; n < len && (c = getc(fp)) != EOF; n++)
		p[n] = (unsigned char)c;
	return n;
}

static size_t by_getc_unlocked(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	for (int c; n < len && (c = getc_unlocked(fp)) != EOF; n++)
		p[n] = (unsigned char)c;
	return n;
}

static size_t by_ungetc(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	for (int c; n < len && (c = fgetc(fp)) != EOF; n++) {
		ungetc(c, fp);
		p[n] = (unsigned char)fgetc(fp);
	}
	return n;
}

static size_t by_fgets(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	while (len - n > 200) {
		long before = ftell(fp);
		if (!fgets((char *)p + n, 200, fp))
			break;
		n += (size_t)(ftell(fp) - before); /* there may be NULs in it */
	}
	return n;
}

static size_t by_getline(FILE *fp, unsigned char *p, size_t len)
{
	char *line = NULL;
	size_t cap = 0, n = 0;
	for (ssize_t got; n < len && (got = getline(&line, &cap, fp)) > 0; n += (size_t)got)
		memcpy(p + n, line, n + (size_t)got > len ? len - n : (size_t)got);
	free(line);
	return n < len ? n : len;
}

static size_t by_getdelim(FILE *fp, unsigned char *p, size_t len)
{
	char *line = NULL;
	size_t cap = 0, n = 0;
	for (ssize_t got; n < len && (got = getdelim(&line, &cap, 'e', fp)) > 0; n += (size_t)got)
		memcpy(p + n, line, n + (size_t)got > len ? len - n : (size_t)got);
	free(line);
	return n < len ? n : len;
}

static size_t by_fscanf(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	while (n < len && fscanf(fp, "%1c", (char *)p + n) == 1)
		n++;
	return n;
}

static size_t by_getw(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	for (int w; n + sizeof w <= len && (w = getw(fp), !feof(fp)); n += sizeof w)
		memcpy(p + n, &w, sizeof w);
	return n;
}

/* As wide characters, in a locale in which a byte is one. */
static size_t by_fgetwc(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = 0;
	for (wint_t c; n < len && (c = fgetwc(fp)) != WEOF; n++)
		p[n] = (unsigned char)c;
	return n;
}

static size_t by_fgetws(FILE *fp, unsigned char *p, size_t len)
{
	wchar_t line[100];
	size_t n = 0;
	while (n + 100 < len && fgetws(line, 100, fp))
		for (size_t i = 0; line[i]; i++)
			p[n++] = (unsigned char)line[i];
	return n;
}

static size_t by_read_and_fread(FILE *fp, unsigned char *p, size_t len)
{
	size_t n = fread(p, 1, 10, fp);
	long at = ftell(fp);
	lseek(fileno(fp), at, SEEK_SET);
	ssize_t r = read(fileno(fp), p + n, 1000); /* as std::ifstream does */
	__fpurge(fp);
	if (r < 0)
		return n;
	n += (size_t)r;
	lseek(fileno(fp), at + r, SEEK_SET);
	return n < len ? n + fread(p + n, 1, len - n, fp) : n;
}

typedef size_t reader(FILE *, unsigned char *, size_t);

#define SLOW 1u
#define LOSES 2u /* libc does not say how far it came before an error */

static const struct {
	const char *name;
	reader *read;
	unsigned int is;
} readers[] = {
	{ "fread", by_fread, 0 }, { "fread,items", by_fread_items, 0 }, { "fread_unlocked", by_fread_unlocked, 0 },
	{ "_IO_fread", by_io_fread, 0 }, { "__fread_chk", by_fread_chk, 0 }, { "__fread_unlocked_chk", by_fread_unlocked_chk, 0 },
	{ "getc", by_getc, 0 }, { "getc_unlocked", by_getc_unlocked, 0 }, { "fgetc+ungetc", by_ungetc, SLOW }, { "fgets", by_fgets, SLOW | LOSES },
	{ "getline", by_getline, 0 }, { "getdelim", by_getdelim, 0 }, { "fscanf", by_fscanf, SLOW }, { "getw", by_getw, LOSES },
	{ "fgetwc", by_fgetwc, SLOW | LOSES }, { "fgetws", by_fgetws, SLOW | LOSES }, { "fread+read", by_read_and_fread, 0 },
};

static void show(const char *name, FILE *fp)
{
	char text[64];
	if (!fp) {
		printf("%s %s\n", name, strerrorname_np(errno));
		return;
	}
	errno = 0;
	size_t n = fread(doors_buf, 1, doors_size + 10, fp);
	printf("%s %s eof %d error %d errno %d at %ld fd %d\n", name, doors_outcome(text, (long)n, doors_buf), !!feof(fp), !!ferror(fp), errno,
	       ftell(fp), fileno(fp));
}

static void show_and_close(const char *name, FILE *fp)
{
	show(name, fp);
	if (fp)
		printf("%s close %d\n", name, fclose(fp));
}

/* ---- the tables ---- */

typedef FILE *fopen_fn(const char *, const char *);
typedef FILE *freopen_fn(const char *, const char *, FILE *);
typedef FILE *fdopen_fn(int, const char *);

static void opens(void)
{
	static const char *const names[] = { "fopen", "fopen64", "_IO_fopen" }, *const modes[] = { "r", "rb", "re", "rm", "rbm", "r+", "rc", "rx" };
	static const char *const fd_names[] = { "fdopen", "_IO_fdopen" }, *const re_names[] = { "freopen", "freopen64" };
	for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
		for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
			snprintf(label, sizeof label, "%s %s", names[i], modes[m]);
			show_and_close(label, ((fopen_fn *)(uintptr_t)doors_find(names[i]))(doors_path, modes[m]));
		}
		for (size_t i = 0; i < sizeof fd_names / sizeof fd_names[0]; i++) {
			snprintf(label, sizeof label, "%s %s", fd_names[i], modes[m]);
			int fd = open(doors_path, strchr(modes[m], '+') ? O_RDWR : O_RDONLY);
			show_and_close(label, ((fdopen_fn *)(uintptr_t)doors_find(fd_names[i]))(fd, modes[m]));
		}
		for (size_t i = 0; i < sizeof re_names / sizeof re_names[0]; i++) {
			snprintf(label, sizeof label, "%s %s", re_names[i], modes[m]);
			FILE *before = fopen("/etc/passwd", "r"), *after = NULL;
			if (!before || getc(before) == EOF)
				doors_die("/etc/passwd");
			after = ((freopen_fn *)(uintptr_t)doors_find(re_names[i]))(doors_path, modes[m], before);
			printf("%s same %d\n", label, after == before);
			show_and_close(label, after);
		}
	}
	show_and_close("fopen ccs", fopen(doors_path, "rm,ccs=ISO-8859-1"));
	show_and_close("fopen absent", fopen("/nonexistent/m.safetensors", "r"));
	show_and_close("fopen folder", fopen("/", "r"));
	show_and_close("fopen bad-mode", fopen(doors_path, "q"));
	show_and_close("fdopen closed", fdopen(9999, "r"));
	/* the old file by another mode; another file after it; a stream that has read */
	FILE *fp = fopen(doors_path, "r");
	if (fread(doors_buf, 1, 100, fp) != 100)
		doors_die("fread");
	show_and_close("freopen NULL", freopen(NULL, "rb", fp));
	fp = fopen(doors_path, "r");
	if (fread(doors_buf, 1, 100, fp) != 100)
		doors_die("fread");
	fp = freopen("/etc/hostname", "r", fp);
	printf("freopen away %d\n", fp && getc(fp) != EOF);
	show_and_close("freopen back", freopen(doors_path, "r", fp));
	char command[4200];
	snprintf(command, sizeof command, "cat '%s'", doors_path);
	fp = popen(command, "r");
	size_t n = fread(doors_buf, 1, doors_size + 10, fp);
	char text[64];
	printf("popen %s status %d\n", doors_outcome(text, (long)n, doors_buf), pclose(fp));
}

static void reads(void)
{
	static const struct {
		const char *name;
		int mode;
		size_t size;
	} buffers[] = { { "own", -1, 0 }, { "none", _IONBF, 0 }, { "line", _IOLBF, 1000 }, { "big", _IOFBF, 200000 } };
	static char room[200000];
	char text[64];
	for (size_t b = 0; b < sizeof buffers / sizeof buffers[0]; b++)
		for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
			size_t want = buffers[b].mode == _IONBF ? 3000 : readers[i].is & SLOW ? 30000 : doors_size;
			FILE *fp = fopen(doors_path, "r");
			if (!fp)
				doors_die(doors_path);
			if (buffers[b].mode >= 0)
				setvbuf(fp, buffers[b].size ? room : NULL, buffers[b].mode, buffers[b].size);
			memset(doors_buf, 0, doors_room);
			size_t n = readers[i].read(fp, doors_buf, want);
			printf("%s buffer-%s %s eof %d error %d at %ld\n", readers[i].name, buffers[b].name, doors_outcome(text, (long)n, doors_buf),
			       !!feof(fp), !!ferror(fp), ftell(fp));
			fseek(fp, doors_edge - 5, SEEK_SET);
			n = readers[i].read(fp, doors_buf, 300);
			printf("%s buffer-%s,after-seek %s at %ld\n", readers[i].name, buffers[b].name, doors_outcome(text, (long)n, doors_buf), ftell(fp));
			fclose(fp);
		}
}

static void seeks(void)
{
	static const struct {
		long at;
		int whence;
	} to[] = { { 0, SEEK_END }, { -100, SEEK_END }, { 5, SEEK_SET }, { 100, SEEK_CUR }, { -50, SEEK_CUR }, { 70000, SEEK_SET }, { -70001, SEEK_CUR }, { 1 << 20, SEEK_CUR } };
	FILE *fp = fopen(doors_path, "r");
	char text[64];
	fpos_t mark;
	for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
		errno = 0;
		int r = fseek(fp, to[i].at, to[i].whence), why = errno;
		size_t n = fread(doors_buf, 1, 130, fp);
		printf("fseek %zu %d %d %s at %ld\n", i, r, why, doors_outcome(text, (long)n, doors_buf), ftell(fp));
		if (i == 4)
			fgetpos(fp, &mark);
	}
	fsetpos(fp, &mark);
	size_t n = fread(doors_buf, 1, 130, fp);
	printf("fsetpos %s\n", doors_outcome(text, (long)n, doors_buf));
	rewind(fp);
	n = fread(doors_buf, 1, 130, fp);
	printf("rewind %s at %lld\n", doors_outcome(text, (long)n, doors_buf), (long long)ftello(fp));
	int fd = dup(fileno(fp));
	fclose(fp); /* puts the shared offset to where the stream was */
	printf("fclose offset %lld\n", (long long)lseek(fd, 0, SEEK_CUR));
	close(fd);
}

/* What cannot be written says so when it is written, or when it is flushed; the file stays what it is. */
static void writes(void)
{
	FILE *fp = fopen(doors_path, "r");
	errno = 0;
	int r = fputs("x", fp), why = errno; /* cppcheck-suppress writeReadOnlyFile ; that is the question */
	printf("fputs rdonly %d %s\n", r, strerrorname_np(why));
	fclose(fp);
}

static void standard_input(void)
{
	char text[64];
	size_t n = fread(doors_buf, 1, doors_size + 10, stdin);
	printf("stdin %s eof %d\n", doors_outcome(text, (long)n, doors_buf), !!feof(stdin));
	FILE *in = freopen("/etc/passwd", "r", stdin);
	printf("freopen stdin-away %d fd %d %d\n", in == stdin, fileno(stdin), getchar() != EOF);
	in = freopen(doors_path, "r", stdin); /* cppcheck-suppress resourceLeak ; it is stdin */
	printf("freopen stdin %d\n", in == stdin);
	show("freopen stdin", stdin);
	int fd = open(doors_path, O_RDONLY);
	dup2(fd, 0);
	close(fd);
	rewind(stdin);
	show("dup2 stdin", stdin);
	rewind(stdin);
	printf("getchar %d scanf %d", getchar(), scanf("%5c", text));
	printf(" %.5s\n", text);
	/* cppcheck-suppress resourceLeak ; in is stdin */
}

static void damaged(const char *want_path, long from, long to)
{
	FILE *plain = fopen(want_path, "r");
	unsigned char *want = malloc(doors_size);
	if (!plain || !want || fread(want, 1, doors_size, plain) != doors_size)
		doors_die(want_path);
	for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
		if (readers[i].is & LOSES)
			continue;
		FILE *fp = fopen(doors_path, "r");
		long start = from - 20000;
		memset(doors_buf, 0, doors_room);
		fseek(fp, start, SEEK_SET);
		errno = 0;
		size_t n = readers[i].read(fp, doors_buf, 40000);
		bool in_items = readers[i].read == by_fread_items; /* the last one may be cut */
		bool well = errno == EIO && ferror(fp) && (n == 20000 || (in_items && n > 19990)) && memcmp(doors_buf, want + start, n) == 0;
		clearerr(fp);
		fseek(fp, to, SEEK_SET);
		n = fread(doors_buf, 1, 5000, fp);
		well &= n == 5000 && memcmp(doors_buf, want + to, n) == 0;
		printf("%s damaged %s\n", readers[i].name, well ? "ok" : "WRONG");
		fclose(fp);
	}
}

int main(int argc, char **argv)
{
	doors_start(argc, argv);
	if (argc == 7) {
		damaged(argv[4], atol(argv[5]), atol(argv[6]));
		return 0;
	}
	standard_input();
	if (!setlocale(LC_CTYPE, "C"))
		doors_die("setlocale");
	opens();
	reads();
	seeks();
	writes();
	return 0;
}
