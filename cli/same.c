#include "same.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "model.h"
#include "secret.h"
#include "source.h"
#include "text.h"
#include "unlock.h"
#include "writer_io.h"

#define BATCH 1048576u /* what a thread takes at once, or one unit of the view if that is more */

/* A view against plain bytes; one of the two is the output. */
struct job {
	struct file *f;
	int view, plain; /* descriptors: f's ciphertext, and the other side */
	uint64_t view_at, plain_at, len;
	bool view_is_output;

	struct writer_crew crew;
	uint64_t next; /* the cursor, under crew.lock; from view_at on */
};

static int differs(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int differs(struct err *err, const char *fmt, ...)
{
	char why[sizeof err->text - 100];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	return cli_err(err, EEXIST, "exists already and is not what would be written: %s; use --force to replace it", why);
}

/* An error about the output, turned into what that means here. */
static int unusable(struct err *err)
{
	char why[sizeof err->text];

	if (err->code == ERR_SYSTEM && (err->sys_errno == ENOMEM || err->sys_errno == EINTR))
		return -1;
	memcpy(why, err->text, sizeof why);
	return differs(err, "%s", why);
}

static bool take(struct job *j, uint64_t *at, uint64_t *len)
{
	uint64_t begin, end;

	pthread_mutex_lock(&j->crew.lock);
	*at = j->next;
	*len = 0;
	while (*at + *len < j->len) {
		file_unit(j->f, j->view_at + *at + *len, &begin, &end);
		end -= j->view_at;
		if (end > j->len)
			end = j->len;
		if (*len > 0 && end - *at > BATCH)
			break;
		*len = end - *at;
	}
	j->next = *at + *len;
	pthread_mutex_unlock(&j->crew.lock);
	return *len > 0;
}

/* `at` counts as in take(). */
static int difference(const struct job *j, uint64_t at, const char *how, struct err *err)
{
	struct file_extent x;

	file_extent(j->f, j->view_at + at, &x);
	if (!x.tensor)
		return differs(err, "its header %s", how);
	return differs(err, "byte %" PRIu64 ", in tensor %s, %s", (j->view_is_output ? j->view_at : j->plain_at) + at,
	               TEXT(x.tensor->name.p, x.tensor->name.len), how);
}

static int compare(struct job *j, uint64_t at, size_t len, uint8_t *a, uint8_t *b, struct err *err)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = file_read(j->f, j->view, j->view_at + at + got, a + got, len - got, err);
		if (n == 0)
			err_set(err, ERR_DAMAGED, "it was cut short while it was read");
		if (n <= 0 && j->view_is_output)
			return err->code == ERR_DAMAGED ? difference(j, at + got, "is damaged", err) : unusable(err);
		if (n <= 0)
			return -1;
		got += (size_t)n;
	}
	if (source_read(j->plain, b, len, j->plain_at + at, err) < 0)
		return j->view_is_output ? -1 : unusable(err);
	if (memcmp(a, b, len) == 0)
		return 0;
	size_t i = 0;
	while (a[i] == b[i])
		i++;
	return difference(j, at + i, "differs", err);
}

static void work(void *arg)
{
	struct job *j = arg;
	uint8_t *buf = malloc(2 * (size_t)FILE_UNIT_MAX);
	struct err e = { 0 };
	uint64_t at, len;

	if (!buf) {
		err_sys(&e, ENOMEM, "a thread's buffer");
		writer_crew_fail(&j->crew, 0, &e);
		return;
	}
	while (writer_crew_goes_on(&j->crew) && take(j, &at, &len)) {
		if (compare(j, at, (size_t)len, buf, buf + FILE_UNIT_MAX, &e) < 0) {
			writer_crew_fail(&j->crew, at, &e);
			break;
		}
		writer_crew_done(&j->crew, len);
	}
	secret_wipe(buf, 2 * (size_t)FILE_UNIT_MAX);
	free(buf);
}

static int run(struct job *j, unsigned int jobs, struct writer_progress *pr, struct err *err)
{
	writer_crew_init(&j->crew, pr, j->len);
	return writer_crew_run(&j->crew, jobs, work, j, err);
}

static bool equal(struct str a, struct str b)
{
	return str_cmp(a, b) == 0;
}

static bool key_is(const struct crypto_key_ref *ref, const struct jwk *key)
{
	return !ref->has_jku && ref->has_kid == key->has_kid && (!key->has_kid || equal(ref->kid, (struct str){ key->kid, key->kid_len }));
}

/* Was the file written with the options that p has? The one place that knows them all. Not asked: how much room its header left (reserve). */
static int same_options(const struct file *f, const struct writer_params *p, struct err *err)
{
	const struct header *h = file_header(f);
	const struct crypto_info *c = file_crypto(f);
	const struct digests *d = file_digests(f);
	uint64_t chunk = p->version == 2 ? p->chunk_size : 0;

	if (c->alg != p->alg)
		return differs(err, "it is encrypted with %s, not with %s", aead_alg_name(c->alg), aead_alg_name(p->alg));
	if (c->version != p->version)
		return differs(err, "its format version is %d, not %d", c->version, p->version);
	if (c->chunk_size != chunk)
		return differs(err, "its chunks have %" PRIu64 " bytes, not %" PRIu64, c->chunk_size, chunk);
	if (!key_is(&c->enc, p->kek) || !key_is(&c->sign, p->signer))
		return differs(err, "it names other keys");
	if (!equal(c->local, p->local) || !equal(c->remote, p->remote))
		return differs(err, "its policy is another");
	for (size_t t = 0; t < h->count; t++) {
		bool wanted = !p->wanted || p->wanted(p->wanted_arg, h->tensors[t].name), encrypted = c->by_tensor[t] != CRYPTO_ABSENT;
		if (encrypted != wanted)
			return differs(err, "tensor %s is %s", TEXT(h->tensors[t].name.p, h->tensors[t].name.len), encrypted ? "encrypted" : "plain");
		if ((p->digests || !wanted) != (d->present && d->by_tensor[t].bytes))
			return differs(err, "it has %s digests", p->digests || !wanted ? "no" : "other");
	}
	return 0;
}

/* Has the file the plain model's tensors and the user's metadata? */
static int same_header(const struct header *plain, const struct header *h, struct err *err)
{
	size_t i = 0, t = 0;

	for (size_t k = 0; k < h->meta_count; k++) {
		if (crypto_info_is_reserved(h->meta[k].key))
			continue;
		if (i >= plain->meta_count || !equal(plain->meta[i].key, h->meta[k].key) || !equal(plain->meta[i].value, h->meta[k].value))
			return differs(err, "its metadata differs");
		i++;
	}
	if (i < plain->meta_count)
		return differs(err, "its metadata differs");
	for (; t < h->count && t < plain->count; t++) {
		const struct header_tensor *a = &plain->tensors[t], *b = &h->tensors[t];
		if (!equal(a->name, b->name) || a->dtype != b->dtype || a->ndim != b->ndim || a->begin != b->begin || a->end != b->end ||
		    (a->ndim > 0 && memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) != 0))
			break;
	}
	return t < h->count || t < plain->count ? differs(err, "its tensors differ") : 0;
}

/* By the two keys that p has, whatever the policy says: who has them and wrote it need not ask. */
static int unlock(struct model *m, const struct writer_params *p, struct err *err)
{
	struct jwk keys[2] = { *p->kek, *p->signer }; /* borrowed */
	const struct jwk_set set = { keys, 2 };
	const struct crypto_info *c = file_crypto(m->file);
	size_t which;

	if (unlock_verify(&set, 1, file_header(m->file), c, &which, err) < 0)
		return -1;
	struct secret *deks = unlock_keys(&set, c, err);
	if (deks && file_set_keys(m->file, deks, err) == 0)
		return 0;
	secret_free(deks);
	return -1;
}

int same_encrypted(const char *in, const char *out, const struct writer_params *p, struct writer_progress *pr, struct err *err)
{
	struct model plain, m;
	int ret = -1;

	if (model_open(&plain, in, err) < 0)
		return -1;
	if (plain.encrypted) {
		err_set(err, ERR_FORMAT, "is encrypted already: to encrypt it anew, decrypt it first");
		goto out;
	}
	if (model_open(&m, out, err) < 0) {
		unusable(err);
		goto out;
	}
	if (!m.encrypted)
		differs(err, "it is not encrypted");
	else if (unlock(&m, p, err) < 0)
		unusable(err);
	else if (same_options(m.file, p, err) == 0 && same_header(&plain.plain, file_header(m.file), err) == 0) {
		struct job j = { .f = m.file, .view = m.fd, .view_at = m.raw_len, .plain = plain.fd, .plain_at = plain.raw_len,
		                 .len = plain.plain.data_len, .view_is_output = true };
		ret = run(&j, p->jobs, pr, err);
	}
	model_close(&m);
out:
	model_close(&plain);
	return ret;
}

/* The output's descriptor and size. */
static int open_output(const char *out, uint64_t *size, struct err *err)
{
	int fd = open(out, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, errno, "it cannot be opened");
		if (fd >= 0)
			close(fd);
		return unusable(err);
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

int same_decrypted(struct file *f, int fd, const char *out, unsigned int jobs, struct writer_progress *pr, struct err *err)
{
	struct job j = { .f = f, .view = fd, .len = file_size(f) };
	uint64_t size;
	int ret = -1;

	j.plain = open_output(out, &size, err);
	if (j.plain < 0)
		return -1;
	if (size != j.len)
		differs(err, "it has %" PRIu64 " bytes, not %" PRIu64, size, j.len);
	else
		ret = run(&j, jobs, pr, err);
	close(j.plain);
	return ret;
}

int same_copied(const char *in, const char *out, struct err *err)
{
	int from = open(in, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), to = -1, ret = -1;
	uint8_t *buf = malloc(2 * (size_t)BATCH);
	struct stat st;
	uint64_t size;

	if (from < 0 || fstat(from, &st) < 0) {
		err_sys(err, errno, "cannot be opened");
		goto out;
	}
	if (!buf) {
		err_sys(err, ENOMEM, "a buffer");
		goto out;
	}
	to = open_output(out, &size, err);
	if (to < 0)
		goto out;
	if (size != (uint64_t)st.st_size) {
		differs(err, "it has %" PRIu64 " bytes, not %" PRIu64, size, (uint64_t)st.st_size);
		goto out;
	}
	for (uint64_t at = 0; at < size; at += BATCH) {
		size_t len = size - at < BATCH ? (size_t)(size - at) : BATCH;
		if (source_read(from, buf, len, at, err) < 0)
			goto out;
		if (source_read(to, buf + BATCH, len, at, err) < 0) {
			unusable(err);
			goto out;
		}
		if (memcmp(buf, buf + BATCH, len) != 0) {
			differs(err, "its bytes differ");
			goto out;
		}
	}
	ret = 0;
out:
	free(buf);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return ret;
}
