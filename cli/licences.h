/*
 * licences: what the commands of ct licence, and ct add of a licence, share (lib/licence.h).
 */
#ifndef CT_CLI_LICENCES_H
#define CT_CLI_LICENCES_H

#include "buf.h"
#include "err.h"
#include "jws.h"
#include "licence.h"

/* A customer's key file: an EC key as a JWK that also has a member LICENCE_PIN, the fingerprint of the publisher in hexadecimal digits. */
#define LICENCE_PIN "ct_publisher"

struct licence_customer {
	struct eckey key;
	uint8_t pin[JWS_FINGERPRINT_LEN];
};

/* source: as keysource.h has it. -1: keysource's errors; ERR_FORMAT: no such key, or no pin in it. */
int licence_customer_read(struct licence_customer *c, const char *source, struct err *err);
void licence_customer_release(struct licence_customer *c);

/* What a customer asks with. */
struct licence_request {
	char name[LICENCE_NAME_MAX + 1]; /* a stranger's text */
	char machine[LICENCE_MACHINE_LEN + 1]; /* empty: none */
	struct eckey key;
	char kid[ECKEY_THUMB_TEXT];
	uint8_t thumb[ECKEY_THUMB_LEN];
	uint8_t pin[JWS_FINGERPRINT_LEN];
};

int licence_request_read(struct licence_request *r, const char *path, struct err *err);
void licence_request_release(struct licence_request *r);

/* A file of at most `max` bytes into *text. -1: ERR_SYSTEM, EFBIG. */
int licence_file(const char *path, size_t max, struct buf *text, struct err *err);

/* 64 hexadecimal digits; blanks and colons between them are skipped. */
bool licence_fingerprint(const char *text, uint8_t out[JWS_FINGERPRINT_LEN]);

/* 32 bytes as people read them out: eight groups of eight digits. */
#define LICENCE_SPOKEN_MAX 80
#define LICENCE_SPOKEN(bytes) licence_spoken((char[LICENCE_SPOKEN_MAX]){ 0 }, (bytes))
const char *licence_spoken(char dst[LICENCE_SPOKEN_MAX], const uint8_t bytes[JWS_FINGERPRINT_LEN]);

/* "2027-12-31 23:59:59 UTC" */
#define LICENCE_DATE_MAX 48
#define LICENCE_DATE(t) licence_date((char[LICENCE_DATE_MAX]){ 0 }, (t))
const char *licence_date(char dst[LICENCE_DATE_MAX], int64_t t);

/* The signer of x has that fingerprint. -1: ERR_REJECTED. */
int licence_pinned(const uint8_t x[SIGN_KEY_LEN], const uint8_t pin[JWS_FINGERPRINT_LEN], struct err *err);

/* One of a time, for ct add: the licence in text for the holder of that key: checked against the pin; its keys, for the agent. The caller releases the set. */
int licence_unlock(const char *text, size_t len, const char *key_source, struct jwk_set *set, struct err *err);

int licence_request(int argc, char **argv);
int licence_issue(int argc, char **argv);
int licence_show(int argc, char **argv);
int licence_revoke(int argc, char **argv);

#endif
