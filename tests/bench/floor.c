/*
 * floor CIPHERTEXT TABLE PLAIN [THREADS]: the least that a full pass over an encrypted model can cost with this OpenSSL.
 *
 * Decrypts all chunks of TABLE from CIPHERTEXT, which is read by pread, into fresh anonymous memory, with as many threads as there are
 * cores, and does nothing else. TABLE: struct chunk, in the order of the file, with the true keys, so that every tag is checked. PLAIN is
 * read after the clock has stopped, for what lies before the first chunk (the view's header). Prints "SECONDS CHECKSUM", as reader
 * does; the seconds run from before the memory is mapped and the threads are made until the last one is joined.
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
static int ciphertext;
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

static void decrypt(EVP_CIPHER_CTX *ctx, unsigned char *piece, struct chunk *c)
{
	int n, none;
	if (EVP_DecryptInit_ex2(ctx, cipher, c->key, c->iv, NULL) != 1)
		bench_fail("init");
	for (uint64_t done = 0; done < c->len; done += (uint64_t)n) {
		uint64_t left = c->len - done;
		ssize_t got = pread(ciphertext, piece, left < PIECE ? left : PIECE, (off_t)(c->at + done));
		if (got <= 0 || EVP_DecryptUpdate(ctx, memory + c->at + done, &n, piece, (int)got) != 1)
			bench_fail("decrypting");
	}
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof c->tag, c->tag) != 1 || EVP_DecryptFinal_ex(ctx, piece, &none) != 1)
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
		decrypt(ctx, piece, &table[i]);
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
	int threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	if (argc < 4)
		return 2;
	if (argc > 4)
		threads = atoi(argv[4]);
	if (threads < 1 || threads > THREADS_MAX)
		return 2;
	table = load(argv[2], &len);
	count = len / sizeof *table;
	ciphertext = open(argv[1], O_RDONLY | O_CLOEXEC);
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (ciphertext < 0 || !cipher || count == 0)
		bench_fail(argv[1]);
	len = table[count - 1].at + table[count - 1].len;
	double start = bench_now();
	/* cppcheck-suppress invalidFunctionArg */
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		bench_fail("mmap");
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t[i], NULL, work, NULL) != 0)
			bench_fail("pthread_create");
	work(NULL);
	for (int i = 1; i < threads; i++)
		pthread_join(t[i], NULL);
	double took = bench_now() - start;
	int plain = open(argv[3], O_RDONLY | O_CLOEXEC);
	if (plain < 0 || pread(plain, memory, table[0].at, 0) != (ssize_t)table[0].at)
		bench_fail(argv[3]);
	sum_add(&sum, memory, len);
	printf("%.9f %016llx%016llx\n", took, (unsigned long long)sum.b, (unsigned long long)sum.a);
	return 0;
}
