/*
 * token_uri: RFC 7512's "pkcs11:" URIs, those that name a secret key. Pure functions.
 *
 *     pkcs11:token=models;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/ct/pin
 */
#ifndef CT_AGENT_TOKEN_URI_H
#define CT_AGENT_TOKEN_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_URI_PATH_MAX 1024
#define TOKEN_URI_NAME_MAX 256 /* of labels and ids; with a NUL */

/* What is empty may be anything. Text is NUL-terminated. */
struct token_uri {
	char token[33], manufacturer[33], model[17], serial[17];
	bool has_slot;
	unsigned long slot;
	char object[TOKEN_URI_NAME_MAX];
	uint8_t id[TOKEN_URI_NAME_MAX];
	size_t id_len;
	char module_path[TOKEN_URI_PATH_MAX]; /* absolute */
	char pin_source[TOKEN_URI_PATH_MAX];  /* absolute; empty: no PIN */
};

/*
 * Reads text strictly: an attribute that is unknown, empty or there twice, or a character that a URI must spell %XX, is an error. Of the path
 * token, manufacturer, model, serial, slot-id, object, id and type=secret-key are known, of the query module-path and pin-source; a pin-value
 * is refused, since whoever reads the URI would have the PIN. module-path is required, and so is object or id. -1 with *why.
 */
int token_uri_parse(struct token_uri *u, const char *text, const char **why);

#endif
