/*
 * cryptoki: PKCS#11 modules: what we use of the interface (version 2.40), and loading them.
 *
 * The declarations are the standard's as Linux has them: natural alignment, a CK_ULONG is an unsigned long. Not thread safe: the process
 * that uses tokens does so in one thread.
 */
#ifndef CT_AGENT_CRYPTOKI_H
#define CT_AGENT_CRYPTOKI_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

typedef unsigned long ck_ulong;
typedef unsigned long ck_rv;

enum { CK_TRUE = 1 };

/* CKR_…; the names of more are known to cryptoki_name(). */
enum {
	CKR_OK = 0x00,
	CKR_DEVICE_ERROR = 0x30,
	CKR_DEVICE_REMOVED = 0x32,
	CKR_KEY_HANDLE_INVALID = 0x60,
	CKR_OBJECT_HANDLE_INVALID = 0x82,
	CKR_PIN_INCORRECT = 0xa0,
	CKR_PIN_INVALID = 0xa1,
	CKR_PIN_LEN_RANGE = 0xa2,
	CKR_PIN_EXPIRED = 0xa3,
	CKR_PIN_LOCKED = 0xa4,
	CKR_SESSION_CLOSED = 0xb0,
	CKR_SESSION_HANDLE_INVALID = 0xb3,
	CKR_TOKEN_NOT_PRESENT = 0xe0,
	CKR_TOKEN_NOT_RECOGNIZED = 0xe1,
	CKR_USER_ALREADY_LOGGED_IN = 0x100,
	CKR_USER_NOT_LOGGED_IN = 0x101,
	CKR_CRYPTOKI_NOT_INITIALIZED = 0x190,
	CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191,
	CKR_CANT_LOCK = 0x0a,
};

enum { CKF_OS_LOCKING_OK = 0x02 };                                            /* of ck_initialize_args */
enum { CKF_DECRYPT = 0x200 };                                                 /* of ck_mechanism_info */
enum { CKF_SERIAL_SESSION = 0x04 };                                           /* of open_session */
enum { CKU_USER = 1, CKO_SECRET_KEY = 4, CKK_AES = 0x1f, CKM_AES_GCM = 0x1087 };
enum {                                                                        /* of ck_token_info */
	CKF_LOGIN_REQUIRED = 0x04,
	CKF_PROTECTED_AUTHENTICATION_PATH = 0x100,
	CKF_TOKEN_INITIALIZED = 0x400,
	CKF_USER_PIN_FINAL_TRY = 0x20000,
	CKF_USER_PIN_LOCKED = 0x40000,
};
enum {
	CKA_CLASS = 0x00,
	CKA_PRIVATE = 0x02,
	CKA_LABEL = 0x03,
	CKA_KEY_TYPE = 0x100,
	CKA_ID = 0x102,
	CKA_SENSITIVE = 0x103,
	CKA_DECRYPT = 0x105,
	CKA_VALUE_LEN = 0x161,
	CKA_EXTRACTABLE = 0x162,
};

struct ck_version {
	uint8_t major, minor;
};

/* Text is padded with blanks, and has no NUL. */
struct ck_token_info {
	uint8_t label[32], manufacturer[32], model[16], serial[16];
	ck_ulong flags;
	ck_ulong sessions_max, sessions, rw_sessions_max, rw_sessions, pin_max, pin_min;
	ck_ulong public_total, public_free, private_total, private_free;
	struct ck_version hardware, firmware;
	uint8_t utc_time[16];
};

struct ck_attribute {
	ck_ulong type;
	void *value;
	ck_ulong len; /* (ck_ulong)-1: cannot be had */
};

struct ck_mechanism {
	ck_ulong type;
	void *parameter;
	ck_ulong len;
};

struct ck_mechanism_info {
	ck_ulong key_min, key_max, flags;
};

/* CK_GCM_PARAMS with ulIvBits, as the header files of 2.40 have it (its text had forgotten that): what modules expect. */
struct ck_gcm_params {
	uint8_t *iv;
	ck_ulong iv_len, iv_bits;
	uint8_t *aad;
	ck_ulong aad_len, tag_bits;
};

struct ck_initialize_args {
	void *create_mutex, *destroy_mutex, *lock_mutex, *unlock_mutex;
	ck_ulong flags;
	void *reserved;
};

/* CK_FUNCTION_LIST up to the last one that we call. The arrays are functions that we do not. */
struct ck_functions {
	struct ck_version version;
	ck_rv (*initialize)(struct ck_initialize_args *args);
	ck_rv (*finalize)(void *reserved);
	void *get_info, *get_function_list;
	ck_rv (*get_slot_list)(uint8_t with_token, ck_ulong *slots, ck_ulong *count);
	void *get_slot_info;
	ck_rv (*get_token_info)(ck_ulong slot, struct ck_token_info *info);
	void *get_mechanism_list;
	ck_rv (*get_mechanism_info)(ck_ulong slot, ck_ulong type, struct ck_mechanism_info *info);
	void *init_token, *init_pin, *set_pin;
	ck_rv (*open_session)(ck_ulong slot, ck_ulong flags, void *application, void *notify, ck_ulong *session);
	ck_rv (*close_session)(ck_ulong session);
	void *close_all_sessions, *get_session_info, *get_operation_state, *set_operation_state;
	ck_rv (*login)(ck_ulong session, ck_ulong user, uint8_t *pin, ck_ulong len);
	void *logout, *create_object, *copy_object, *destroy_object, *get_object_size;
	ck_rv (*get_attributes)(ck_ulong session, ck_ulong object, struct ck_attribute *list, ck_ulong count);
	void *set_attributes;
	ck_rv (*find_begin)(ck_ulong session, struct ck_attribute *list, ck_ulong count);
	ck_rv (*find)(ck_ulong session, ck_ulong *objects, ck_ulong max, ck_ulong *count);
	ck_rv (*find_end)(ck_ulong session);
	void *encrypt_init, *encrypt, *encrypt_update, *encrypt_final;
	ck_rv (*decrypt_begin)(ck_ulong session, struct ck_mechanism *m, ck_ulong key);
	ck_rv (*decrypt)(ck_ulong session, uint8_t *in, ck_ulong len, uint8_t *out, ck_ulong *out_len);
};

struct cryptoki {
	const struct ck_functions *f;
	void *handle;
	unsigned int users;
	bool ours; /* we initialized it, so we finalize it */
	struct cryptoki *next;
};

/*
 * Loads and initializes the module, or counts one more user of it. Refuses a file that others could have written (ERR_REJECTED): it is
 * code of ours from then on. Errors else: ERR_NOKEY (no such module, or it does not start). Load it after every fork: modules do not survive one.
 */
struct cryptoki *cryptoki_load(const char *path, struct err *err);

/* The last user's finalizes and unloads it. NULL is allowed. */
void cryptoki_unload(struct cryptoki *m);

/* "CKR_PIN_INCORRECT (0xa0)", or the number alone. */
#define CRYPTOKI_NAME_MAX 64
#define CRYPTOKI_NAME(rv) cryptoki_name((char[CRYPTOKI_NAME_MAX]){ 0 }, (rv))
const char *cryptoki_name(char dst[CRYPTOKI_NAME_MAX], ck_rv rv);

#endif
