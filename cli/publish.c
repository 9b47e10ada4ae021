#include "publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

int publish_policy(const char *path, struct str *text, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret = -1;
	char *buf = malloc(PUBLISH_POLICY_MAX + 1);
	size_t len = 0;

	if (fd < 0) {
		err_sys(err, errno, "cannot be opened");
		goto out;
	}
	if (!buf) {
		err_sys(err, ENOMEM, "the policy");
		goto out;
	}
	for (;;) {
		ssize_t n = read(fd, buf + len, PUBLISH_POLICY_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(err, errno, "cannot be read");
			goto out;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > PUBLISH_POLICY_MAX) {
			cli_err(err, EFBIG, "a policy has at most %u bytes", PUBLISH_POLICY_MAX);
			goto out;
		}
	}
	for (size_t at = 0, n; at < len; at += n) {
		uint32_t cp;
		n = text_utf8_decode(buf + at, len - at, &cp);
		/* Policy engines stop at a NUL: what follows would go unseen. */
		if (n == 0 || cp == 0) {
			cli_err(err, EINVAL, "byte %zu is not UTF-8 text: a policy is text", at);
			goto out;
		}
	}
	*text = (struct str){ buf, len };
	ret = 0;
out:
	if (ret < 0)
		free(buf);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Readers find a key by its kid or, where it has none, take the first of its kind. */
static int check_findable(const struct jwk_set *set, const struct jwk *k, const char *what, struct err *err)
{
	const struct jwk *found = jwk_set_find(set, k->kind, k->has_kid, (struct str){ k->kid, k->kid_len });

	if (found == k || (found && k->kind == JWK_OKP && memcmp(found->x, k->x, sizeof k->x) == 0))
		return 0;
	return cli_err(err, EINVAL, "its %s has no key id, and readers would take the first of its kind instead: give the key a kid", what);
}

int publish_keys(const struct jwk_set *set, const struct jwk **kek, const struct jwk **signer, struct err *err)
{
	*kek = *signer = NULL;
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];
		if (k->kind == JWK_OCT && !*kek)
			*kek = k;
		if (k->kind == JWK_OKP && k->secret && !*signer)
			*signer = k;
	}
	if (!*kek)
		return err_set(err, ERR_NOKEY, "holds no master key (kty oct): ct keygen makes one");
	if (!*signer)
		return err_set(err, ERR_NOKEY, "holds no private signing key (kty okp with d): a set for readers cannot encrypt");
	return check_findable(set, *kek, "master key", err) < 0 ? -1 : check_findable(set, *signer, "private signing key", err);
}

int publish_key_fits(const struct jwk *kek, enum aead_alg alg, struct err *err)
{
	if (kek->has_alg && kek->alg != alg)
		return cli_err(err, EINVAL, "its master key is for %s, not for %s", aead_alg_name(kek->alg), aead_alg_name(alg));
	if (kek->secret->len != aead_key_len(alg))
		return cli_err(err, EINVAL, "its master key has %zu bytes, %s needs %zu", kek->secret->len, aead_alg_name(alg), aead_key_len(alg));
	return 0;
}
