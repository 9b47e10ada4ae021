/*
 * A PKCS#11 module that has bad days: it hands all calls on to the real one, $P11_REAL, and fails where a test tells it to. For tokens that softhsm2
 * is not: unplugged, about to lock their PIN, without AES-GCM; while there is a file $P11_HANG it does not come back from a decryption.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "cryptoki.h"

/* What the test sets and reads. */
ck_ulong p11_token_flags;  /* added to each token's */
ck_ulong p11_fail;         /* decrypt_begin returns that … */
unsigned int p11_fail_for; /* … so many times */
ck_ulong p11_decrypt_says; /* decrypt returns that, always */
ck_ulong p11_login_says;   /* and so does login */
int p11_no_gcm, p11_no_decrypt, p11_unplugged;
unsigned int p11_logins, p11_initialized, p11_finalized;

static struct ck_functions ours;
static const struct ck_functions *real;

static ck_rv initialize(struct ck_initialize_args *args)
{
	p11_initialized++;
	return real->initialize(args);
}

static ck_rv finalize(void *reserved)
{
	p11_finalized++;
	return real->finalize(reserved);
}

static ck_rv get_slot_list(uint8_t with_token, ck_ulong *slots, ck_ulong *count)
{
	if (p11_unplugged) {
		*count = 0;
		return CKR_OK;
	}
	return real->get_slot_list(with_token, slots, count);
}

static ck_rv get_token_info(ck_ulong slot, struct ck_token_info *info)
{
	ck_rv rv = real->get_token_info(slot, info);

	info->flags |= p11_token_flags;
	return rv;
}

static ck_rv get_mechanism_info(ck_ulong slot, ck_ulong type, struct ck_mechanism_info *info)
{
	return p11_no_gcm ? 0x70 : real->get_mechanism_info(slot, type, info);
}

static ck_rv login(ck_ulong session, ck_ulong user, uint8_t *pin, ck_ulong len)
{
	p11_logins++;
	return p11_login_says ? p11_login_says : real->login(session, user, pin, len);
}

static ck_rv get_attributes(ck_ulong session, ck_ulong object, struct ck_attribute *list, ck_ulong count)
{
	ck_rv rv = real->get_attributes(session, object, list, count);

	if (p11_no_decrypt && list[0].type == CKA_DECRYPT)
		*(uint8_t *)list[0].value = 0;
	return rv;
}

static ck_rv decrypt_begin(ck_ulong session, struct ck_mechanism *m, ck_ulong key)
{
	if (p11_fail_for) {
		p11_fail_for--;
		return p11_fail;
	}
	return real->decrypt_begin(session, m, key);
}

static ck_rv decrypt(ck_ulong session, uint8_t *in, ck_ulong len, uint8_t *out, ck_ulong *out_len)
{
	const char *hang = getenv("P11_HANG");
	ck_rv rv;

	while (hang && access(hang, F_OK) == 0)
		usleep(20000);
	rv = real->decrypt(session, in, len, out, out_len);

	return p11_decrypt_says ? p11_decrypt_says : rv;
}

ck_rv C_GetFunctionList(const struct ck_functions **list);

ck_rv C_GetFunctionList(const struct ck_functions **list)
{
	ck_rv (*get)(const struct ck_functions **);
	void *h = dlopen(getenv("P11_REAL"), RTLD_NOW | RTLD_LOCAL);

	if (!h)
		return 0x05;
	*(void **)&get = dlsym(h, "C_GetFunctionList");
	if (get(&real) != CKR_OK)
		return 0x05;
	ours = *real; /* to the last function that cryptoki.h knows */
	ours.initialize = initialize;
	ours.finalize = finalize;
	ours.get_slot_list = get_slot_list;
	ours.get_token_info = get_token_info;
	ours.get_mechanism_info = get_mechanism_info;
	ours.login = login;
	ours.get_attributes = get_attributes;
	ours.decrypt_begin = decrypt_begin;
	ours.decrypt = decrypt;
	*list = &ours;
	return CKR_OK;
}
