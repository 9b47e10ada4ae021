#include "wire.h"

#include <string.h>

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void wire_head_put(uint8_t out[WIRE_HEAD], uint32_t json_len, uint32_t blob_len)
{
	put_u32(out, json_len);
	put_u32(out + 4, blob_len);
}

int wire_head_get(struct wire_head *h, const uint8_t in[WIRE_HEAD], struct err *err)
{
	h->json_len = get_u32(in);
	h->blob_len = get_u32(in + 4);
	if (h->json_len == 0 || h->json_len > WIRE_JSON_MAX)
		return err_set(err, ERR_FORMAT, "a frame with %u bytes of JSON; 1 to %u are allowed", h->json_len, WIRE_JSON_MAX);
	if (h->blob_len > WIRE_BLOB_MAX)
		return err_set(err, ERR_FORMAT, "a frame with a blob of %u bytes; the limit is %u", h->blob_len, WIRE_BLOB_MAX);
	return 0;
}

static const char *const dispositions[] = {
	[WIRE_SERVE] = "serve",
	[WIRE_CIPHERTEXT] = "ciphertext",
	[WIRE_REFUSE] = "refuse",
};

const char *wire_disposition_name(enum wire_disposition d)
{
	return dispositions[d];
}

int wire_disposition_parse(const char *name, enum wire_disposition *d)
{
	for (unsigned int i = 0; i < sizeof dispositions / sizeof *dispositions; i++)
		if (strcmp(name, dispositions[i]) == 0) {
			*d = (enum wire_disposition)i;
			return 0;
		}
	return -1;
}
