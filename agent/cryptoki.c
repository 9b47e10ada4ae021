#include "cryptoki.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "trusted.h"

/* Several keys of one module share its one state. */
static struct cryptoki *loaded;

static ck_rv initialize(struct cryptoki *m)
{
	struct ck_initialize_args args = { .flags = CKF_OS_LOCKING_OK };
	ck_rv rv = m->f->initialize(&args);

	if (rv == CKR_CANT_LOCK) /* it must not be used by two threads then: we are one */
		rv = m->f->initialize(NULL);
	m->ours = rv == CKR_OK;
	return rv == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CKR_OK : rv;
}

static struct cryptoki *find(void *handle)
{
	struct cryptoki *m = loaded;

	while (m && m->handle != handle)
		m = m->next;
	return m;
}

static void no_module(const char *path, struct err *err)
{
	const char *why = dlerror();

	err_set(err, ERR_NOKEY, "the PKCS#11 module %s cannot be loaded: %s", TEXT(path, strlen(path)), why ? TEXT(why, strlen(why)) : "?");
}

struct cryptoki *cryptoki_load(const char *path, struct err *err)
{
	ck_rv (*get_list)(const struct ck_functions **list);
	struct cryptoki *m = NULL;
	void *handle;
	ck_rv rv;

	if (trusted_check(path, 022, err))
		return NULL;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		no_module(path, err);
		return NULL;
	}
	m = find(handle);
	if (m) {
		dlclose(handle); /* counted by us instead */
		m->users++;
		return m;
	}
	m = calloc(1, sizeof *m);
	*(void **)&get_list = dlsym(handle, "C_GetFunctionList");
	if (!m || !get_list || get_list(&m->f) != CKR_OK || !m->f) {
		err_set(err, ERR_NOKEY, "%s is no PKCS#11 module: it has no C_GetFunctionList", TEXT(path, strlen(path)));
		goto fail;
	}
	if (m->f->version.major < 2 || (m->f->version.major == 2 && m->f->version.minor < 20)) {
		err_set(err, ERR_NOKEY, "the PKCS#11 module %s is of version %u.%u: 2.20 or newer is needed", TEXT(path, strlen(path)),
		        m->f->version.major, m->f->version.minor);
		goto fail;
	}
	rv = initialize(m);
	if (rv != CKR_OK) {
		err_set(err, ERR_NOKEY, "the PKCS#11 module %s does not start: %s", TEXT(path, strlen(path)), CRYPTOKI_NAME(rv));
		goto fail;
	}
	m->handle = handle;
	m->users = 1;
	m->next = loaded;
	loaded = m;
	return m;
fail:
	free(m);
	dlclose(handle);
	return NULL;
}

void cryptoki_unload(struct cryptoki *m)
{
	struct cryptoki **at = &loaded;

	if (!m || --m->users > 0)
		return;
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	if (m->ours)
		m->f->finalize(NULL);
	dlclose(m->handle);
	free(m);
}

const char *cryptoki_name(char dst[CRYPTOKI_NAME_MAX], ck_rv rv)
{
	static const struct {
		ck_rv rv;
		const char *name;
	} names[] = {
		{ 0x02, "HOST_MEMORY" },
		{ 0x03, "SLOT_ID_INVALID" },
		{ 0x05, "GENERAL_ERROR" },
		{ 0x06, "FUNCTION_FAILED" },
		{ 0x07, "ARGUMENTS_BAD" },
		{ CKR_CANT_LOCK, "CANT_LOCK" },
		{ 0x11, "ATTRIBUTE_SENSITIVE" },
		{ 0x12, "ATTRIBUTE_TYPE_INVALID" },
		{ CKR_DEVICE_ERROR, "DEVICE_ERROR" },
		{ 0x31, "DEVICE_MEMORY" },
		{ CKR_DEVICE_REMOVED, "DEVICE_REMOVED" },
		{ 0x40, "ENCRYPTED_DATA_INVALID" },
		{ 0x41, "ENCRYPTED_DATA_LEN_RANGE" },
		{ 0x54, "FUNCTION_NOT_SUPPORTED" },
		{ CKR_KEY_HANDLE_INVALID, "KEY_HANDLE_INVALID" },
		{ 0x63, "KEY_TYPE_INCONSISTENT" },
		{ 0x68, "KEY_FUNCTION_NOT_PERMITTED" },
		{ 0x70, "MECHANISM_INVALID" },
		{ 0x71, "MECHANISM_PARAM_INVALID" },
		{ CKR_OBJECT_HANDLE_INVALID, "OBJECT_HANDLE_INVALID" },
		{ CKR_PIN_INCORRECT, "PIN_INCORRECT" },
		{ CKR_PIN_INVALID, "PIN_INVALID" },
		{ CKR_PIN_LEN_RANGE, "PIN_LEN_RANGE" },
		{ CKR_PIN_EXPIRED, "PIN_EXPIRED" },
		{ CKR_PIN_LOCKED, "PIN_LOCKED" },
		{ CKR_SESSION_CLOSED, "SESSION_CLOSED" },
		{ 0xb1, "SESSION_COUNT" },
		{ CKR_SESSION_HANDLE_INVALID, "SESSION_HANDLE_INVALID" },
		{ CKR_TOKEN_NOT_PRESENT, "TOKEN_NOT_PRESENT" },
		{ CKR_TOKEN_NOT_RECOGNIZED, "TOKEN_NOT_RECOGNIZED" },
		{ CKR_USER_NOT_LOGGED_IN, "USER_NOT_LOGGED_IN" },
		{ 0x102, "USER_PIN_NOT_INITIALIZED" },
		{ 0x104, "USER_ANOTHER_ALREADY_LOGGED_IN" },
		{ CKR_CRYPTOKI_NOT_INITIALIZED, "CRYPTOKI_NOT_INITIALIZED" },
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].rv == rv) {
			snprintf(dst, CRYPTOKI_NAME_MAX, "CKR_%s (0x%lx)", names[i].name, rv);
			return dst;
		}
	snprintf(dst, CRYPTOKI_NAME_MAX, "0x%lx", rv);
	return dst;
}
