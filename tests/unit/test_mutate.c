/*
 * For any byte sequence the answer is a file or an error. Without these tests a crafted header could crash the agent or the host, and a
 * changed byte could come through as data.
 *
 * Needs the vectors below the current folder (tests/vectors). Seeded: the same mutations in every run.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "canon.h"
#include "check.h"
#include "file.h"
#include "unlock.h"

#define VECTORS "tests/vectors/"

static uint64_t seed = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % below;
}

static uint8_t *slurp(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
		exit(1);
	}
	uint8_t *p = malloc((size_t)st.st_size + 1);
	if (!p || read(fd, p, (size_t)st.st_size) != st.st_size)
		exit(1);
	close(fd);
	*len = (size_t)st.st_size;
	return p;
}

static struct jwk_set keys;

/* As agent and shim do it: parse, verify, unwrap, open. NULL: refused. */
static struct file *open_bytes(const uint8_t *p, size_t len)
{
	uint64_t total;
	size_t which;
	struct err err = { 0 };
	if (header_look(p, len, len, &total) == HEADER_NOT || !header_smells(p, (size_t)total))
		return NULL;
	uint8_t *raw = malloc((size_t)total); /* exactly as long: a sanitizer sees a read past the end */
	if (!raw)
		abort();
	memcpy(raw, p, (size_t)total);
	struct file *f = file_parse(raw, (size_t)total, len, &err);
	free(raw);
	if (!f) {
		CHECK(err.code == ERR_FORMAT || err.code == ERR_PLAIN);
		return NULL;
	}
	struct secret *deks = NULL;
	if (unlock_verify(&keys, 1, file_header(f), file_crypto(f), &which, &err) == 0)
		deks = unlock_keys(&keys, file_crypto(f), &err);
	if (!deks || file_set_keys(f, deks, &err) < 0) {
		CHECK(err.code == ERR_FORMAT || err.code == ERR_NOKEY);
		secret_free(deks);
		file_free(f);
		return NULL;
	}
	return f;
}

static int memfd_of(const uint8_t *p, size_t len)
{
	int fd = memfd_create("mutant", MFD_CLOEXEC);
	if (fd < 0 || write(fd, p, len) != (ssize_t)len)
		abort();
	return fd;
}

/* Every byte that can be read, the others as 0 with good[i] = 0. false: refused at open. */
static bool read_all(const uint8_t *p, size_t len, uint8_t *out, uint8_t *good)
{
	struct file *f = open_bytes(p, len);
	if (!f)
		return false;
	int fd = memfd_of(p, len);
	memset(good, 0, len);
	memset(out, 0, len);
	for (size_t at = 0; at < len;) {
		struct file_extent e;
		ssize_t n = file_read(f, fd, at, out + at, len - at, NULL);
		if (n > 0) {
			memset(good + at, 1, (size_t)n);
			at += (size_t)n;
			continue;
		}
		file_extent(f, at, &e);
		CHECK(e.begin <= at && at < e.end && e.end <= len);
		at = (size_t)e.end;
	}
	close(fd);
	file_free(f);
	return true;
}

/* One changed byte, at every place, in three ways: the right bytes or an error. */
static void test_every_byte(const char *name)
{
	char path[512];
	size_t len, readable = 0;
	snprintf(path, sizeof path, VECTORS "%s", name);
	uint8_t *p = slurp(path, &len), *view = malloc(len), *out = malloc(len), *good = malloc(len);
	if (!view || !out || !good || !read_all(p, len, view, good))
		abort();
	for (size_t i = 0; i < len; i++)
		CHECK(good[i]);
	for (size_t at = 0; at < len; at++) {
		for (int how = 0; how < 3; how++) {
			uint8_t old = p[at];
			p[at] = (uint8_t)(how == 0 ? old ^ 1 : how == 1 ? old ^ 0x80 : ' ');
			if (p[at] != old && read_all(p, len, out, good)) {
				bool wrong = false;
				readable++;
				for (size_t i = 0; i < len; i++)
					wrong |= good[i] && out[i] != view[i];
				if (wrong)
					fprintf(stderr, "%s: byte %zu, way %d\n", name, at, how);
				CHECK(!wrong);
			}
			p[at] = old;
		}
	}
	CHECK(readable > 0); /* damage in the data is found by reading, not by opening */
	free(p);
	free(view);
	free(out);
	free(good);
}

static void mutate(uint8_t *p, size_t *len, size_t cap)
{
	static const char *const pieces[] = { "{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud800", "null", "1e9", "-1", "18446744073709551615",
		                              "\"__encryption__\":\"{}\"", "\"\":0", "\xff", "\\\"" };
	size_t head = *len < 2000 ? *len : 2000, at = draw((uint32_t)head);
	const char *piece = pieces[draw(sizeof pieces / sizeof pieces[0])];
	size_t n = strlen(piece);
	switch (draw(5)) {
	case 0:
		p[at] = (uint8_t)draw(256);
		break;
	case 1: /* overwrite */
		if (at + n <= *len)
			memcpy(p + at, piece, n);
		break;
	case 2: /* insert, N with it */
		if (*len + n <= cap && at >= 8) {
			memmove(p + at + n, p + at, *len - at);
			memcpy(p + at, piece, n);
			*len += n;
			p[0] = (uint8_t)(p[0] + n);
		}
		break;
	case 3: { /* copy a part over another */
		size_t from = draw((uint32_t)head), m = draw(64);
		if (from + m <= *len && at + m <= *len)
			memmove(p + at, p + from, m);
		break;
	}
	default:
		*len -= draw(16) < *len ? draw(16) : 0;
	}
}

static void test_mutants(const char *name)
{
	char path[512];
	size_t len;
	snprintf(path, sizeof path, VECTORS "%s", name);
	uint8_t *p = slurp(path, &len);
	size_t cap = len + 256;
	uint8_t *m = malloc(cap);
	if (!m)
		abort();
	for (int i = 0; i < 400; i++) {
		struct header h;
		size_t mlen = len;
		memcpy(m, p, len);
		for (uint32_t k = 1 + draw(4); k > 0; k--)
			mutate(m, &mlen, cap);
		file_free(open_bytes(m, mlen));
		/* What parses has a canonical text, and that text is a fixed point. */
		if (mlen > 8 && mlen >= 8 + m[0] + ((size_t)m[1] << 8) &&
		    header_parse(&h, m, 8 + m[0] + ((size_t)m[1] << 8), mlen, NULL) == 0) {
			struct buf once = BUF_INIT, twice = BUF_INIT;
			struct header again;
			uint64_t n;
			buf_put(&once, m, 8);
			canon_signed(&once, &h);
			n = once.len - 8;
			memcpy(once.data, &n, 8);
			CHECK(header_parse(&again, (uint8_t *)once.data, once.len, once.len + h.data_len, NULL) == 0);
			canon_signed(&twice, &again);
			CHECK(twice.len == n && memcmp(twice.data, once.data + 8, n) == 0);
			buf_release(&once);
			buf_release(&twice);
			header_release(&again);
			header_release(&h);
		}
	}
	free(m);
	free(p);
}

static int is_vector(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return n > 12 && strcmp(e->d_name + n - 12, ".safetensors") == 0;
}

int main(void)
{
	size_t len;
	struct err err = { 0 };
	uint8_t *text = slurp(VECTORS "keys/aes256gcm.jwk", &len);
	CHECK(jwk_set_parse(&keys, (const char *)text, len, &err) == 0);
	free(text);
	test_every_byte("craft_base.safetensors");
	test_every_byte("aes256gcm_v1_cdefault.safetensors");
	test_every_byte("two_adjacent_empties.safetensors");
	struct dirent **list = NULL;
	int n = scandir(VECTORS, &list, is_vector, alphasort), files = 0; /* sorted: the seed decides, not the folder */
	for (int i = 0; i < n; i++) {
		char path[512];
		struct stat st;
		snprintf(path, sizeof path, VECTORS "%s", list[i]->d_name);
		if (stat(path, &st) == 0 && st.st_size < 4000) {
			test_mutants(list[i]->d_name);
			files++;
		}
		free(list[i]);
	}
	free(list);
	CHECK(files > 100);
	jwk_set_release(&keys);
	return check_status("test_mutate");
}
