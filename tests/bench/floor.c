/*
 * floor [-t THREADS] [-a CIPHER] [-h | -n | -w OUT | -e OUT] FILE TABLE [PLAIN]: the least that work on a whole model can cost with this OpenSSL.
 *
 *         decrypts all chunks of TABLE from FILE, which is read by pread, into fresh anonymous memory
 *   -h    into huge pages
 *   -n    the same, and forgets what it decrypted
 *   -w    the same, and writes it to OUT at the same places
 *   -e    encrypts the chunks of a plain FILE, and writes them to OUT
 *
 * and does nothing else, with THREADS (as many as there are cores) and CIPHER (OpenSSL's name; AES-256-GCM). TABLE: struct chunk, in the order of
 * the file, with the true keys, so that every tag is checked. Prints "SECONDS CHECKSUM"; the seconds run from before the memory is mapped, or OUT
 * made, and the threads are started until the last one is joined. The checksum is reader's of the same bytes if PLAIN is given, of which
 * comes what lies before the first chunk (the view's header); else 0.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define PIECE 262144u /* bytes read and decrypted at a time: stays in L2 */
#define THREADS_MAX 256

struct chunk {
	uint64_t at, len;
	uint8_t key[32], iv[12], tag[16], pad[4];
};

static EVP_CIPHER *cipher;
static bool huge, forget, encrypt;
static int in, out = -1;
static struct chunk *table;
static size_t count;
static unsigned char *memory;
static atomic_size_t next;

static void *load(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		bench_fail(path);
	void *p = malloc((size_t)st.st_size);
	if (!p || read(fd, p, (size_t)st.st_size) != st.st_size)
		bench_fail(path);
	close(fd);
	*len = (size_t)st.st_size;
	return p;
}

static void write_all(const unsigned char *p, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(out, p + done, len - done, (off_t)(at + done));
		if (n <= 0)
			bench_fail("writing");
		done += (size_t)n;
	}
}

static void convert(EVP_CIPHER_CTX *ctx, unsigned char *piece, struct chunk *c)
{
	int n, none;
	if (EVP_CipherInit_ex2(ctx, cipher, c->key, c->iv, encrypt, NULL) != 1)
		bench_fail("init");
	for (uint64_t done = 0; done < c->len; done += (uint64_t)n) {
		uint64_t left = c->len - done, at = c->at + done;
		ssize_t got = pread(in, piece, left < PIECE ? left : PIECE, (off_t)at);
		if (got <= 0 || EVP_CipherUpdate(ctx, memory ? memory + at : piece, &n, piece, (int)got) != 1)
			bench_fail("decrypting");
		if (out >= 0)
			write_all(piece, (size_t)n, at);
	}
	if (!encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof c->tag, c->tag) != 1)
		bench_fail("tag");
	if (EVP_CipherFinal_ex(ctx, piece, &none) != 1)
		bench_fail("a tag is wrong");
}

static void *work(void *arg)
{
	unsigned char *piece = malloc(PIECE);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t i;
	if (!piece || !ctx)
		bench_fail("memory");
	while ((i = atomic_fetch_add(&next, 1)) < count)
		convert(ctx, piece, &table[i]);
	EVP_CIPHER_CTX_free(ctx);
	free(piece);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS_MAX];
	cpu_set_t cpus;
	size_t len;
	struct sum sum = { 0 };
	const char *name = "AES-256-GCM", *to = NULL;
	int opt, threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	while ((opt = getopt(argc, argv, "t:a:hnw:e:")) != -1) {
		if (opt == 't')
			threads = atoi(optarg);
		else if (opt == 'a')
			name = optarg;
		else if (opt == 'h')
			huge = true;
		else if (opt == 'n')
			forget = true;
		else if (opt == 'w' || opt == 'e')
			to = optarg;
		else
			return 2;
		encrypt = encrypt || opt == 'e';
	}
	argv += optind - 1;
	argc -= optind - 1;
	if (argc < 3 || threads < 1 || threads > THREADS_MAX)
		return 2;
	table = load(argv[2], &len);
	count = len / sizeof *table;
	in = open(argv[1], O_RDONLY | O_CLOEXEC);
	cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	if (in < 0 || !cipher || count == 0)
		bench_fail(argv[1]);
	len = table[count - 1].at + table[count - 1].len;
	double start = bench_now();
	if (to) {
		out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (out < 0)
			bench_fail(to);
	} else if (!forget) {
		/* cppcheck-suppress invalidFunctionArg */
		memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			bench_fail("mmap");
		if (huge)
			madvise(memory, len, MADV_HUGEPAGE);
	}
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t[i], NULL, work, NULL) != 0)
			bench_fail("pthread_create");
	work(NULL);
	for (int i = 1; i < threads; i++)
		pthread_join(t[i], NULL);
	double took = bench_now() - start;
	if (memory && argc > 3) {
		int plain = open(argv[3], O_RDONLY | O_CLOEXEC);
		if (plain < 0 || pread(plain, memory, table[0].at, 0) != (ssize_t)table[0].at)
			bench_fail(argv[3]);
		sum_add(&sum, memory, len);
	}
	printf("%.9f %016llx%016llx\n", took, (unsigned long long)sum.b, (unsigned long long)sum.a);
	return 0;
}
