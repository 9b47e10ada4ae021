#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_client.h"
#include "cli.h"
#include "policy.h"
#include "source.h"
#include "unlock.h"

static int parse(struct model *m, struct err *err)
{
	uint64_t size = (uint64_t)m->st.st_size;

	if (header_parse(&m->plain, m->raw, m->raw_len, size, err) < 0)
		return -1;
	int encrypted = crypto_info_present(&m->plain, err);
	if (encrypted == 0)
		return 0;
	header_release(&m->plain);
	memset(&m->plain, 0, sizeof m->plain);
	if (encrypted < 0)
		return -1;
	m->encrypted = true;
	m->file = file_parse(m->raw, m->raw_len, size, err);
	return m->file ? 0 : -1;
}

int model_open(struct model *m, const char *path, struct err *err)
{
	*m = (struct model){ .fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) };
	if (m->fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (fstat(m->fd, &m->st) < 0) {
		err_sys(err, errno, "cannot be looked at");
		goto fail;
	}
	if (!S_ISREG(m->st.st_mode)) {
		cli_err(err, S_ISDIR(m->st.st_mode) ? EISDIR : EINVAL, "is not a regular file");
		goto fail;
	}
	if (source_header(m->fd, (uint64_t)m->st.st_size, &m->raw, &m->raw_len, err) == 0 && parse(m, err) == 0)
		return 0;
fail:
	model_close(m);
	return -1;
}

static int unlock_here(struct model *m, const struct jwk_set *set, struct err *err)
{
	const struct crypto_info *c = file_crypto(m->file);
	size_t which;

	if (unlock_verify(set, 1, file_header(m->file), c, &which, err) < 0)
		return -1;
	if (!policy_is_default(c->local))
		return err_set(err, ERR_REJECTED, "its policy is not the default one, and with --keys nobody judges it: without --keys the agent does (ct add, "
		               "ct-agent --policy-engine); ct inspect shows it");
	struct secret *keys = unlock_keys(set, c, err);
	if (!keys)
		return -1;
	if (file_set_keys(m->file, keys, err) < 0) {
		secret_free(keys);
		return -1;
	}
	return 0;
}

static int unlock_by_agent(struct model *m, struct err *err)
{
	struct agent_addr addr;
	struct agent_reply reply;
	int ret = -1;

	if (agent_addr_find(&addr, cli_env, err) < 0)
		return -1;
	if (agent_open(&addr, m->raw, m->raw_len, (uint64_t)m->st.st_size, NULL, &reply, err) < 0)
		return -1;
	if (reply.disposition != WIRE_SERVE)
		err_set(err, ERR_REJECTED, "the agent's configuration gives ct ciphertext and no keys: use --keys, or let an allow line for ct come first");
	else if (file_set_keys(m->file, reply.blob, err) == 0) {
		reply.blob = NULL; /* the file owns them now */
		ret = 0;
	}
	agent_reply_release(&reply);
	return ret;
}

int model_unlock(struct model *m, const struct jwk_set *set, struct err *err)
{
	if (!m->encrypted)
		return err_set(err, ERR_PLAIN, "is a plain file, not encrypted: nothing vouches for its bytes");
	return set ? unlock_here(m, set, err) : unlock_by_agent(m, err);
}

int model_vouched(struct model *m, const struct jwk_set *set, struct err *err)
{
	if (unlock_signed(set, file_header(m->file), file_crypto(m->file), err) < 0)
		return -1;
	if (digests_cover_all(file_digests(m->file), file_header(m->file)))
		return 0;
	return err_set(err, ERR_NOKEY, "the key set has no master key for it, and it has no digests of all tensors (ct encrypt --digests) that could be "
	               "checked without one");
}

void model_close(struct model *m)
{
	file_free(m->file);
	header_release(&m->plain);
	free(m->raw);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct model){ .fd = -1 };
}

static int kind_of(struct model *m, enum model_kind *kind, struct err *err)
{
	uint8_t first[HEADER_PREFIX + 1];
	uint64_t total;

	if (fstat(m->fd, &m->st) < 0)
		return err_sys(err, errno, "cannot be looked at");
	uint64_t size = (uint64_t)m->st.st_size;
	size_t len = size < sizeof first ? (size_t)size : sizeof first;
	if (source_read(m->fd, first, len, 0, err) < 0)
		return -1;
	if (header_look(first, len, size, &total) == HEADER_NOT)
		return 0;
	*kind = MODEL_BROKEN;
	if (source_header(m->fd, size, &m->raw, &m->raw_len, err) < 0 || header_parse(&m->plain, m->raw, m->raw_len, size, err) < 0)
		return -1;
	int encrypted = crypto_info_present(&m->plain, err);
	*kind = encrypted == 0 ? MODEL_PLAIN : MODEL_ENCRYPTED;
	return encrypted < 0 ? -1 : 0;
}

int model_kind(const char *path, enum model_kind *kind, struct err *err)
{
	struct model m = { .fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) };

	*kind = MODEL_NONE;
	if (m.fd < 0)
		return err_sys(err, errno, "cannot be opened");
	int ret = kind_of(&m, kind, err);
	/* Nothing that a system call or the lack of memory kept from being looked at may pass for something else. */
	if (ret < 0 && *kind != MODEL_NONE && err->code != ERR_SYSTEM)
		ret = 0;
	model_close(&m);
	return ret;
}
