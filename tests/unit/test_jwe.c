/* jwe: vectors of the RFCs, what another program wrote, every byte changed, what is refused and with which words, round trips. */
#include "jwe.h"

#include <stdlib.h>

#include "base64.h"
#include "check.h"
#include "jwe_crypt.h"

/* RFC 7517, appendix C. */
#define RFC7517_C \
	"eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJwMnMiOiIyV0NUY0paMVJ2ZF9DSnVKcmlwUTF3IiwicDJjIjo0MDk2LCJlbmMiOiJBMTI4" \
	"Q0JDLUhTMjU2IiwiY3R5IjoiandrK2pzb24ifQ.TrqXOwuNUfDV9VPTNbyGvEJ9JMjefAVn-TR1uIxR9p6hsRQh9Tk7BA.Ye9j1qs22DmRSA" \
	"ddIh-VnA.AwhB8lxrlKjFn02LGWEqg27H4Tg9fyZAbFv3p5ZicHpj64QyHC44qqlZ3JEmnZTgQowIqZJ13jbyHB8LgePiqUJ1hf6M2HPLgzw" \
	"8L-mEeQ0jvDUTrE07NtOerBk8bwBQyZ6g0kQ3DEOIglfYxV8-FJvNBYwbqN1Bck6d_i7OtjSHV-8DIrp-3JcRIe05YKy3Oi34Z_GOiAc1EK2" \
	"1B11c_AE11PII_wvvtRiUiG8YofQXakWd1_O98Kap-UgmyWPfreUJ3lJPnbD4Ve95owEfMGLOPflo2MnjaTDCwQokoJ_xplQ2vNPz8iguLcH" \
	"BoKllyQFJL2mOWBwqhBo9Oj-O800as5mmLsvQMTflIrIEbbTMzHMBZ8EFW9fWwwFu0DWQJGkMNhmBZQ-3lvqTc-M6-gWA6D8PDhONfP2Oib2" \
	"HGizwG1iEaX8GRyUpfLuljCLIe1DkGOewhKuKkZh04DKNM5Nbugf2atmU9OP0Ldx5peCUtRG1gMVl7Qup5ZXHTjgPDr5b2N731UooCGAUqHd" \
	"gGhg0JVJ_ObCTdjsH4CF1SJsdUhrXvYx3HJh2Xd7CwJRzU_3Y1GxYU6-s3GFPbirfqqEipJDBTHpcoCmyrwYjYHFgnlqBZRotRrS95g8F95b" \
	"RXqsaDY7UgQGwBQBwy665d0zpvTasvfXf_c0MWAl-neFaKOW_Px6g4EUDjG1GWSXV9cLStLw_0ovdApDIFLHYHePyagyHjouQUuGiq7BsYwY" \
	"rwaF06tgB8hV8omLNfMEmDPJaZUzMuHw6tBDwGkzD-tS_ub9hxrpJ4UsOWnt5rGUyoN2N_c1-TQlXxm5oto14MxnoAyBQBpwIEgSH3Y4ZhwK" \
	"BhHPjSo0cdwuNdYbGPpb-YUvF-2NZzODiQ1OvWQBRHSbPWYz_xbGkgD504LRtqRwCO7CC_CyyURi1sEssPVsMJRX_U4LFEOc82TiDdqjKOjR" \
	"UfKK5rqLi8nBE9soQ0DSaOoFQZiGrBrqxDsNYiAYAmxxkos-i3nX4qtByVx85sCE5U_0MqG7COxZWMOPEFrDaepUV-cOyrvoUIng8i8ljKBK" \
	"xETY2BgPegKBYCxsAUcAkKamSCC9AiBxA0UOHyhTqtlvMksO7AEhNC2-YzPyx1FkhMoS4LLe6E_pFsMlmjA6P1NSge9C5G5tETYXGAn6b1xZ" \
	"bHtmwrPScro9LWhVmAaA7_bxYObnFUxgWtK4vzzQBjZJ36UTk4OTB-JvKWgfVWCFsaw5WCHj6Oo4jpO7d2yN7WMfAj2hTEabz9wumQ0TMhBd" \
	"uZ-QON3pYObSy7TSC1vVme0NJrwF_cJRehKTFmdlXGVldPxZCplr7ZQqRQhF8JP-l4mEQVnCaWGn9ONHlemczGOS-A-wwtnmwjIB1V_vgJRf" \
	"4FdpV-4hUk4-QLpu3-1lWFxrtZKcggq3tWTduRo5_QebQbUUT_VSCgsFcOmyWKoj56lbxthN19hq1XGWbLGfrrR6MWh23vk01zn8FVwi7uFw" \
	"EnRYSafsnWLa1Z5TpBj9GvAdl2H9NHwzpB5NqHpZNkQ3NMDj13Fn8fzO0JB83Etbm_tnFQfcb13X3bJ15Cz-Ww1MGhvIpGGnMBT_ADp9xSIy" \
	"AM9dQ1yeVXk-AIgWBUlN5uyWSGyCxp0cJwx7HxM38z0UIeBu-MytL-eqndM7LxytsVzCbjOTSVRmhYEMIzUAnS1gs7uMQAGRdgRIElTJESGM" \
	"jb_4bZq9s6Ve1LKkSi0_QDsrABaLe55UY0zF4ZSfOV5PMyPtocwV_dcNPlxLgNAD1BFX_Z9kAdMZQW6fAmsfFle0zAoMe4l9pMESH0JB4sJG" \
	"dCKtQXj1cXNydDYozF7l8H00BV_Er7zd6VtIw0MxwkFCTatsv_R-GsBCH218RgVPsfYhwVuT8R4HarpzsDBufC4r8_c8fc9Z278sQ081jFjO" \
	"ja6L2x0N_ImzFNXU6xwO-Ska-QeuvYZ3X_L31ZOX4Llp-7QSfgDoHnOxFv1Xws-D5mDHD3zxOup2b2TppdKTZb9eW2vxUVviM8OI9atBfPKM" \
	"GAOv9omA-6vv5IxUH0-lWMiHLQ_g8vnswp-Jav0c4t6URVUzujNOoNd_CBGGVnHiJTCHl88LQxsqLHHIu4Fz-U2SGnlxGTj0-ihit2ELGRv4" \
	"vO8E1BosTmf0cx3qgG0Pq0eOLBDIHsrdZ_CCAiTc0HVkMbyq1M6qEhM-q5P6y1QCIrwg.0HFmhOzsQ98nNWJjIHkR7A"

/* RFC 7520, 5.3. */
#define RFC7520_HEAD "eyJhbGciOiJQQkVTMi1IUzUxMitBMjU2S1ciLCJwMnMiOiI4UTFTemluYXNSM3hjaFl6NlpaY0hBIiwicDJjIjo4MTkyLCJjdHkiOiJqd2stc2V0K2pzb24iLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0"
#define RFC7520_KEY "d3qNhUWfqheyPp4H8sjOWsDYajoej4c5Je6rlUtFPWdgtURtmeDV1g"
#define RFC7520_IV "VBiCzVHNoLiR3F4V82uoTQ"
#define RFC7520_TEXT \
	"23i-Tb1AV4n0WKVSSgcQrdg6GRqsUKxjruHXYsTHAJLZ2nsnGIX86vMXqIi6IRsfywCRFzLxEcZBRnTvG3nhzPk0GDD7FMyXhUHpDjEYCNA_" \
	"XOmzg8yZR9oyjo6lTF6si4q9FZ2EhzgFQCLO_6h5EVg3vR75_hkBsnuoqoM3dwejXBtIodN84PeqMb6asmas_dpSsz7H10fC5ni9xIz424gi" \
	"vB1YLldF6exVmL93R3fOoOJbmk2GBQZL_SEGllv2cQsBgeprARsaQ7Bq99tT80coH8ItBjgV08AtzXFFsx9qKvC982KLKdPQMTlVJKkqtV4R" \
	"u5LEVpBZXBnZrtViSOgyg6AiuwaS-rCrcD_ePOGSuxvgtrokAKYPqmXUeRdjFJwafkYEkiuDCV9vWGAi1DH2xTafhJwcmywIyzi4BqRpmdn_" \
	"N-zl5tuJYyuvKhjKv6ihbsV_k1hJGPGAxJ6wUpmwC4PTQ2izEm0TuSE8oMKdTw8V3kobXZ77ulMwDs4p"
#define RFC7520_TAG "0HlwodAhOCILG5SQ2LQ9dg"
#define RFC7520_PLAIN \
	"{\"keys\":[{\"kty\":\"oct\",\"kid\":\"77c7e2b8-6e13-45cf-8672-617b5b45243a\",\"use\":\"enc\",\"alg\":\"A128GCM\",\"k\":" \
	"\"XctOhJAkA-pD9Lh7ZgW_2A\"},{\"kty\":\"oct\",\"kid\":\"81b20965-8332-43d9-a468-82160ad91ac8\",\"use\":\"enc\",\"alg\":\"A128KW\"," \
	"\"k\":\"GZy6sIZ6wl9NJOKB-jnmVQ\"},{\"kty\":\"oct\",\"kid\":\"18ec08e1-bfa9-4d95-b205-2b4dd1d4321d\",\"use\":\"enc\"," \
	"\"alg\":\"A256GCMKW\",\"k\":\"qC57l_uxcm7Nm3K-ct4GFjx8tM1U8CZ0NLBvdQstiS8\"}]}"

/* jose 11 wrote these, for 1,000 rounds: the salt is in the recipient's header, another one says nothing. */
#define JOSE_WORD "thirty-two_rounds"
#define JOSE_PLAIN "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODw\"}]}"
#define JOSE_GCM \
	"{\"ciphertext\":\"NyH68s9f99yePahtEbsvP3etT0GMCaQAbNXaSF_22g12EMW-1oJJI9rtF3Jm1ODg7LphUk8\"," \
	"\"encrypted_key\":\"Dg2hCo1aZVe2wBMMi-5_TFrlOmGe4CAanRU6NVxpX6kyu_i9mAc1wQ\"," \
	"\"header\":{\"p2s\":\"4-C_FQAMm_kX1L3HndQIzMYOXGIv3RdgrksZ5wQOiKk\"},\"iv\":\"Ae9fugLMXj8vfLXE\"," \
	"\"protected\":\"eyJhbGciOiJQQkVTMi1IUzUxMitBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIiwicDJjIjoxMDAwfQ\",\"tag\":\"TzHD_Gdeo47D7SCiVb4xKA\"}"
#define JOSE_CBC \
	"{\"ciphertext\":\"N5TYlZBcujOXyM2j4oevIPjwdEuK7S4fj1Zkqafh1kpzzNWHkgqeFanWfTcoOr01CaNBTbDZUznCVwgLz8KYsQ\"," \
	"\"encrypted_key\":\"wzGyHDTiAeDhXS7C8KhLtBsEcoyKIJdDWENgLzc_lQhW4BRPpu0Nny2c14Y8RzXowZTc__jfGbXZL3G2O8r72fHBKNaYPqYq\"," \
	"\"header\":{\"p2s\":\"vP1jHnlOAAADIpvXnl0ebPDtBQzgMRBnmBN1oy4Fo0E\"},\"iv\":\"zHywckAiUGv2p9ca5g5F2Q\"," \
	"\"protected\":\"eyJhbGciOiJQQkVTMi1IUzUxMitBMjU2S1ciLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwicDJjIjoxMDAwfQ\"," \
	"\"tag\":\"LozZFgRLayRgykXGokjtYVhv-bq8Zx3vy4xO7PsfWCs\"}"

/* RFC 7518, appendix C. */
#define ALICE "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0\"," \
	"\"y\":\"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps\",\"d\":\"0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo\"}"
#define BOB_X "\"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ\""
#define BOB_Y "\"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck\""
#define BOB_D "\"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw\""
#define BOB "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_X ",\"y\":" BOB_Y ",\"d\":" BOB_D "}"
/* jose 11 wrote this for Bob, with apu and apv. */
#define JOSE_EC \
	"{\"ciphertext\":\"MjOEtXKQ6DyaEzNwjSVdx6xKDzPAhs_lOlHJ8Kvzl-4YXctWqnvgai910Bg0oqy0VkvjHuQ\"," \
	"\"encrypted_key\":\"ZrPgEkH2CzmCbbrzJPPKd7e_tTVCq50r-GPPOSsI9Aq-HHzyBPsUtQ\",\"header\":{\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\"," \
	"\"x\":\"zf8N6EYz1bzl0dC5Tx9cJWIA-LGpalQBgrapEbmS4HM\",\"y\":\"NPvLRzb8wkKUjEfwBIGNjjvUBVHAuR_6y1VrfMs0Yfw\"}}," \
	"\"iv\":\"9EkvVxlXJd4yqoYX\",\"protected\":\"eyJhbGciOiJFQ0RILUVTK0EyNTZLVyIsImFwdSI6IlFXeHBZMlUiLCJhcHYiOiJRbTlpIiwiZW5jIjoiQTI1NkdDTSJ9\"," \
	"\"tag\":\"G_JozD6wJuk6-MsbIorD0A\"}"

/* jwcrypto wrote this, with aad (libjose 11 reads it; what it writes with aad nobody else opens). */
#define AAD_KEY "{\"crv\":\"P-256\",\"d\":\"dCAo8VHWUn96rmUSx4JZVv3TasANVzYUM-0twHwPJSc\"," \
	"\"kty\":\"EC\",\"x\":\"ucuAaU3EEMeKbbTR7_GmBk3CnHIX7-lJ_5YEBjFmRDU\",\"y\":\"2U1_xrm6y0s8EykvGSbHGavYy7Q2VnJZDuaXYxav20E\"}"
#define AAD_TEXT \
	"{\"aad\":\"bW9yZQ\",\"ciphertext\":\"zdf40Q\",\"encrypted_key\":\"BIqnZbtjej7gevzeYcqAqGyQoKzvO639izpiGFw-dRHyzbVhD78WhA\"," \
	"\"header\":{\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"_IIuOMd_VngJW-Xn8yjI0sBQ5PyduQAVNZkqoRaXkFA\",\"y\":\"ziGCe3hsBPfSuhNhOtzs9BTKvtN8TFIFIE27NcAp8fA\"}}," \
	"\"iv\":\"6Oc9Gegy7qj5QfjS\",\"protected\":\"eyJhbGciOiJFQ0RILUVTK0EyNTZLVyIsImVuYyI6IkEyNTZHQ00ifQ\",\"tag\":\"Uo89-RRMiOO4KapcQ2Wt_w\"}"

#define K40 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define BODY "\"encrypted_key\":\"" K40 "\",\"iv\":\"AAAAAAAAAAAAAAAA\",\"ciphertext\":\"AA\",\"tag\":\"AAAAAAAAAAAAAAAAAAAAAA\""
#define P2S "\"p2s\":\"AAAAAAAAAAA\""
#define HEAD "\"alg\":\"PBES2-HS512+A256KW\",\"enc\":\"A256GCM\""
#define GOOD "{" HEAD ",\"p2c\":1000," P2S "}"

static struct secret *word(const char *text)
{
	struct secret *s = secret_copy(text, strlen(text));
	if (!s)
		abort();
	return s;
}

static bool holds(const struct secret *s, const char *text)
{
	return s && s->len == strlen(text) && memcmp(s->data, text, s->len) == 0;
}

static struct secret *open_word(const char *text, const char *passphrase, struct err *err)
{
	struct secret *p = word(passphrase), *s;
	memset(err, 0, sizeof *err);
	s = jwe_open(text, strlen(text), p, NULL, err);
	secret_free(p);
	return s;
}

static void vectors(void)
{
	static const struct {
		const char *text, *word, *plain;
	} good[] = {
		{ RFC7520_HEAD "." RFC7520_KEY "." RFC7520_IV "." RFC7520_TEXT "." RFC7520_TAG, "entrap_o\xe2\x80\x93peter_long\xe2\x80\x93" "credit_tun",
		  RFC7520_PLAIN },
		{ " {\"recipients\":[{\"encrypted_key\":\"" RFC7520_KEY "\"}],\"protected\":\"" RFC7520_HEAD "\",\"iv\":\"" RFC7520_IV
		  "\",\"ciphertext\":\"" RFC7520_TEXT "\",\"tag\":\"" RFC7520_TAG "\"}\n", "entrap_o\xe2\x80\x93peter_long\xe2\x80\x93" "credit_tun",
		  RFC7520_PLAIN },
		{ JOSE_GCM, JOSE_WORD, JOSE_PLAIN },
		{ JOSE_CBC, JOSE_WORD, JOSE_PLAIN },
	};
	struct secret *s;
	enum jwe_way way;
	struct err err;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		CHECK(jwe_is(good[i].text, strlen(good[i].text)));
		CHECK(jwe_way(good[i].text, strlen(good[i].text), &way, &err) == 0 && way == JWE_PASSPHRASE);
		s = open_word(good[i].text, good[i].word, &err);
		CHECK(holds(s, good[i].plain));
		if (!s)
			fprintf(stderr, "vector %zu: %s\n", i, err.text);
		secret_free(s);
		CHECK(!open_word(good[i].text, "thirty-two_round", &err));
		CHECK_ERR(&err, ERR_REJECTED, "wrong passphrase");
	}
	s = open_word(RFC7517_C, "Thus from my lips, by yours, my sin is purged.", &err);
	CHECK(s && s->len > 1000 && memcmp(s->data, "{\"kty\":\"RSA\",\"kid\":\"juliet@capulet.lit\"", 39) == 0 && s->data[s->len - 1] == '}');
	secret_free(s);
}

static void agreement(void)
{
	static const uint8_t want[16] = { 0x56, 0xaa, 0x8d, 0xea, 0xf8, 0x23, 0x6d, 0x20, 0x5c, 0x22, 0x28, 0xcd, 0x71, 0xa7, 0x10, 0x1a };
	const struct str apu = { "Alice", 5 }, apv = { "Bob", 3 };
	struct eckey alice, bob;
	struct err err = { 0 };

	CHECK(eckey_parse(&alice, ALICE, strlen(ALICE), &err) == 0 && eckey_parse(&bob, BOB, strlen(BOB), &err) == 0);
	struct secret *a = eckey_agree(&alice, &bob, "A128GCM", apu, apv, 16), *b = eckey_agree(&bob, &alice, "A128GCM", apu, apv, 16);
	CHECK(a && memcmp(a->data, want, 16) == 0);
	CHECK(b && memcmp(b->data, want, 16) == 0);
	secret_free(a);
	secret_free(b);
	enum jwe_way way;
	CHECK(jwe_way(JOSE_EC, strlen(JOSE_EC), &way, &err) == 0 && way == JWE_EC);
	struct secret *s = jwe_open(JOSE_EC, strlen(JOSE_EC), NULL, &bob, &err);
	CHECK(holds(s, JOSE_PLAIN));
	secret_free(s);
	CHECK(!jwe_open(JOSE_EC, strlen(JOSE_EC), NULL, &alice, &err));
	CHECK_ERR(&err, ERR_REJECTED, "another EC key");
	CHECK(!jwe_open(JOSE_EC, strlen(JOSE_EC), NULL, NULL, &err));
	CHECK_ERR(&err, ERR_NOKEY, "EC key");
	CHECK(!jwe_open(JOSE_GCM, strlen(JOSE_GCM), NULL, &alice, &err));
	CHECK_ERR(&err, ERR_NOKEY, "passphrase");
	struct secret *d = bob.d;
	bob.d = NULL;
	CHECK(!jwe_open(JOSE_EC, strlen(JOSE_EC), NULL, &bob, &err));
	CHECK_ERR(&err, ERR_NOKEY, "private EC key");
	bob.d = d;
	eckey_release(&alice);
	eckey_release(&bob);

	char text[] = AAD_TEXT;
	CHECK(eckey_parse(&bob, AAD_KEY, strlen(AAD_KEY), &err) == 0);
	s = jwe_open(text, strlen(text), NULL, &bob, &err);
	CHECK(holds(s, "text"));
	secret_free(s);
	strstr(text, "bW9yZQ")[5] = 'g';
	CHECK(!jwe_open(text, strlen(text), NULL, &bob, &err));
	CHECK_ERR(&err, ERR_FORMAT, "its tag is wrong");
	eckey_release(&bob);
}

/* Each byte of a message, changed in each of some ways, is an error, and nothing is given out. */
static void flip(const char *text, const struct secret *passphrase, const struct eckey *key, const char *what)
{
	static const uint8_t masks[] = { 0x01, 0x20, 0x80 };
	size_t len = strlen(text);
	char *copy = malloc(len);

	if (!copy)
		abort();
	for (size_t at = 0; at < len; at++)
		for (size_t i = 0; i < sizeof masks; i++) {
			struct err err = { 0 };
			memcpy(copy, text, len);
			copy[at] = (char)(copy[at] ^ masks[i]);
			struct secret *s = jwe_open(copy, len, passphrase, key, &err);
			CHECK(!s && err.code != ERR_NONE && err.text[0]);
			if (s)
				fprintf(stderr, "%s: byte %zu ^ %02x opens\n", what, at, masks[i]);
			secret_free(s);
		}
	for (size_t n = 0; n < len; n++) {
		struct err err = { 0 };
		CHECK(!jwe_open(text, n, passphrase, key, &err) && err.text[0]);
	}
	free(copy);
}

static void flips(void)
{
	struct secret *w = word(JOSE_WORD), *s;
	struct buf out = BUF_INIT;
	struct err err = { 0 };
	struct eckey bob;

	CHECK(eckey_parse(&bob, BOB, strlen(BOB), &err) == 0);
	flip(JOSE_GCM, w, NULL, "GCM");
	flip(JOSE_CBC, w, NULL, "CBC");
	flip(JOSE_EC, NULL, &bob, "EC");
	CHECK(jwe_seal_ec(&out, JWE_COMPACT, "text", 4, NULL, &bob, &err) == 0);
	buf_putc(&out, '\0');
	flip(out.data, NULL, &bob, "compact");
	buf_release(&out);
	/* Changed on the way, under the right keys: the tag says so, and not the passphrase. */
	char *copy = strdup(JOSE_CBC);
	*(strstr(copy, "N5TY")) = 'M';
	s = jwe_open(copy, strlen(copy), w, NULL, &err);
	CHECK(!s);
	CHECK_ERR(&err, ERR_FORMAT, "its tag is wrong");
	free(copy);
	secret_free(w);
	eckey_release(&bob);
}

static void refused(void)
{
	static const struct {
		const char *protected, *rest, *part;
	} bad[] = {
		{ "{\"enc\":\"A256GCM\"}", BODY, "\"alg\" is missing" },
		{ "{\"alg\":\"dir\",\"enc\":\"A256GCM\"}", BODY, "alg dir is not understood" },
		{ "{\"alg\":\"RSA1_5\",\"enc\":\"A256GCM\"}", BODY, "alg RSA1_5 is not understood" },
		{ "{\"alg\":7,\"enc\":\"A256GCM\"}", BODY, "\"alg\" is not the name" },
		{ "{\"alg\":\"\\u001b[2J\",\"enc\":\"A256GCM\"}", BODY, "\\x1b" },
		{ "{\"alg\":\"PBES2-HS512+A256KW\"}", BODY, "\"enc\" is missing" },
		{ "{\"alg\":\"PBES2-HS512+A256KW\",\"p2c\":1000," P2S "}", "\"header\":{\"enc\":\"A256GCM\"}," BODY, "\"enc\" is not in the protected" },
		{ "{\"alg\":\"PBES2-HS512+A256KW\",\"enc\":\"A192GCM\"}", BODY, "enc A192GCM is not understood" },
		{ "{" HEAD "," P2S "}", BODY, "\"p2c\" is missing" },
		{ "{" HEAD ",\"p2c\":1000}", BODY, "\"p2s\" is missing" },
		{ "{" HEAD ",\"p2c\":999," P2S "}", BODY, "\"p2c\" is not a number from 1000 to 1000000" },
		{ "{" HEAD ",\"p2c\":1000001," P2S "}", BODY, "\"p2c\" is not" },
		{ "{" HEAD ",\"p2c\":4294968296," P2S "}", BODY, "\"p2c\" is not" }, /* 1,000 in 32 bits */
		{ "{" HEAD ",\"p2c\":1e4," P2S "}", BODY, "\"p2c\" is not" },
		{ "{" HEAD ",\"p2c\":\"1000\"," P2S "}", BODY, "\"p2c\" is not" },
		{ "{" HEAD ",\"p2c\":1000,\"p2s\":\"AAAAAAAAAA\"}", BODY, "\"p2s\" is not 8 to 255" },
		{ "{" HEAD ",\"p2c\":1000,\"p2s\":\"AAAAAAAAAAA=\"}", BODY, "\"p2s\" is not" },
		{ "{" HEAD ",\"p2c\":1000," P2S ",\"crit\":[\"exp\"]}", BODY, "\"crit\": nothing of that kind" },
		{ "{" HEAD ",\"p2c\":1000," P2S ",\"zip\":\"DEF\"}", BODY, "\"zip\": nothing of that kind" },
		{ GOOD, "\"header\":{\"crit\":[]}," BODY, "\"crit\"" },
		{ "{" HEAD ",\"p2c\":1000," P2S ",\"p2c\":1000}", BODY, "header parameter \"p2c\" is there twice" },
		{ "{" HEAD ",\"p2c\":1000," P2S ",\"x\":1,\"\\u0078\":1}", BODY, "header parameter \"x\" is there twice" },
		{ GOOD, "\"header\":{\"p2c\":1000}," BODY, "header parameter \"p2c\" is there twice" },
		{ GOOD, "\"unprotected\":{\"alg\":\"PBES2-HS512+A256KW\"}," BODY, "header parameter \"alg\" is there twice" },
		{ GOOD, "\"unprotected\":{\"x\":1},\"header\":{\"x\":1}," BODY, "header parameter \"x\" is there twice" },
		{ GOOD, "\"header\":{},\"header\":{}," BODY, "\"header\" is there twice" },
		{ GOOD, "\"header\":[]," BODY, "a header is not an object" },
		{ GOOD, "\"iv\":\"AAAAAAAAAAAAAAAA\"," BODY, "\"iv\" is there twice" },
		{ GOOD, "\"tag\":7", "\"tag\" is not a string" },
		{ GOOD, "\"tag\":\"AA==\"", "\"tag\" is not base64url" },
		{ GOOD, "\"aad\":\"A\"," BODY, "\"aad\" is not base64url" },
		{ GOOD, "\"recipients\":[]," BODY, "not an array with a recipient" },
		{ GOOD, "\"recipients\":[{},{}]", "2 recipients" },
		{ GOOD, "\"recipients\":[{}]," BODY, "both \"recipients\" and" },
		{ GOOD, "\"recipients\":[{}],\"header\":{}", "both \"recipients\" and" },
		{ GOOD, "\"recipients\":[{\"header\":{},\"header\":{}}]", "twice" },
		{ GOOD, "\"recipients\":[1]", "not an object" },
		{ GOOD, "\"iv\":\"AAAAAAAAAAAAAAAA\",\"ciphertext\":\"AA\",\"tag\":\"AAAAAAAAAAAAAAAAAAAAAA\"", "\"encrypted_key\" is missing" },
		{ GOOD, "\"encrypted_key\":\"" K40 "\",\"iv\":\"AAAAAAAAAAA\"", "\"iv\" has 8 bytes, not 12" },
		{ GOOD, "\"encrypted_key\":\"" K40 "\",\"iv\":\"AAAAAAAAAAAAAAAA\",\"ciphertext\":\"AA\",\"tag\":\"AAAA\"", "\"tag\" has 3 bytes, not 16" },
		{ GOOD, "\"encrypted_key\":\"AAAA\"", "\"encrypted_key\" has 3 bytes, not 40" },
		{ "[]", BODY, "" },
		{ "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\"}", BODY, "\"epk\" is missing" },
		{ "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":\"x\"}", BODY, "\"epk\" is not an object" },
		{ "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":" BOB "}", BODY, "\"epk\" holds a private key" },
		{ "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{\"kty\":\"EC\",\"crv\":\"P-384\"}}", BODY, "\"crv\" is not P-256" },
		{ "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_X ",\"y\":" BOB_X "}}", BODY,
		  "not a point of P-256" },
	};
	char text[2048], encoded[1024];
	enum jwe_way way;
	struct err err;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		memset(encoded, 0, sizeof encoded);
		base64_encode(BASE64_URL, bad[i].protected, strlen(bad[i].protected), encoded);
		snprintf(text, sizeof text, "{\"protected\":\"%s\",%s}", encoded, bad[i].rest);
		memset(&err, 0, sizeof err);
		CHECK(jwe_is(text, strlen(text)));
		CHECK(jwe_way(text, strlen(text), &way, &err) == -1);
		CHECK_ERR(&err, ERR_FORMAT, bad[i].part);
	}
	/* The frame of all these is sound. */
	base64_encode(BASE64_URL, GOOD, strlen(GOOD), (memset(encoded, 0, sizeof encoded), encoded));
	snprintf(text, sizeof text, "{\"protected\":\"%s\",%s}", encoded, BODY);
	CHECK(jwe_way(text, strlen(text), &way, &err) == 0);
	CHECK(jwe_way("eyJ9.AA.AA.AA", 13, &way, &err) == -1);
	CHECK_ERR(&err, ERR_FORMAT, "4 parts");
	CHECK(jwe_way("eyJ9.AA.AA.AA.AA.AA", 19, &way, &err) == -1);
	CHECK_ERR(&err, ERR_FORMAT, "\"tag\" is not base64url");
	CHECK(!jwe_is("", 0) && !jwe_is("{}", 2) && !jwe_is("eyJh", 4) && !jwe_is("age.", 4));
	CHECK(!jwe_is(JOSE_PLAIN, strlen(JOSE_PLAIN)) && !jwe_is("{\"kty\":\"oct\",\"tag\":1,\"iv\":2}", 28));
}

static void ec_keys(void)
{
	static const struct {
		const char *text, *part;
	} bad[] = {
		{ "{}", "\"kty\" is missing" },
		{ "{\"kty\":\"OKP\"}", "\"kty\" is not EC" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_X "}", "\"y\" is missing" },
		{ "{\"kty\":\"EC\",\"kty\":\"EC\"}", "\"kty\" is there twice" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":" BOB_D ",\"d\":" BOB_D "}", "\"d\" is there twice" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\"}", "\"x\" is not 32 bytes" },
		{ "{\"kty\":\"EC\",\"alg\":\"ES256\"}", "\"alg\" is not ECDH-ES" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_Y ",\"y\":" BOB_X "}", "not a point of P-256" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_X ",\"y\":" BOB_Y ",\"d\":\"0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo\"}", "and its d" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":" BOB_X ",\"y\":" BOB_Y ",\"d\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "and its d" },
		/* zero and zero: what OpenSSL might take for the point at infinity */
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
		  "not a point of P-256" },
	};
	struct eckey k, back;
	struct err err = { 0 };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK(eckey_parse(&k, bad[i].text, strlen(bad[i].text), &err) == -1);
		CHECK_ERR(&err, ERR_FORMAT, bad[i].part);
		CHECK(!k.d);
	}
	CHECK(eckey_generate(&k, &err) == 0);
	k.has_kid = true;
	k.kid_len = (size_t)snprintf(k.kid, sizeof k.kid, "a \"kid\"");
	for (int private = 0; private <= 1; private++) {
		struct secret *s = eckey_write(&k, private);
		CHECK(s && eckey_parse(&back, (const char *)s->data, s->len, &err) == 0);
		CHECK(back.has_kid && strcmp(back.kid, k.kid) == 0 && memcmp(back.point, k.point, sizeof k.point) == 0);
		CHECK(private ? back.d && secret_equal(back.d, k.d) : !back.d);
		secret_free(s);
		eckey_release(&back);
	}
	eckey_release(&k);
}

static void round_trips(void)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 1000, 400000 };
	struct secret *w = word("p\xc3\xa4ss \xe2\x82\xac"), *big = secret_new(400000);
	struct err err = { 0 };
	struct eckey k;

	CHECK(big && eckey_generate(&k, &err) == 0);
	for (size_t i = 0; i < big->len; i++)
		big->data[i] = (uint8_t)(i * 7 >> 3);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int form = JWE_COMPACT; form <= JWE_JSON; form++)
			for (int ec = 0; ec <= 1; ec++) {
				struct buf a = BUF_INIT, b = BUF_INIT;
				for (int again = 0; again <= 1; again++) {
					struct buf *out = again ? &b : &a;
					CHECK((ec ? jwe_seal_ec(out, (enum jwe_form)form, big->data, sizes[i], "jwk-set+json", &k, &err) :
					            jwe_seal_passphrase(out, (enum jwe_form)form, big->data, sizes[i], NULL, w, &err)) == 0);
				}
				struct secret *s = jwe_open(a.data, a.len, ec ? NULL : w, ec ? &k : NULL, &err);
				CHECK(s && s->len == sizes[i] && memcmp(s->data, big->data, sizes[i]) == 0);
				CHECK(jwe_is(a.data, a.len) && (form == JWE_JSON) == (a.data[0] == '{'));
				CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) != 0); /* other keys, salts and nonces each time */
				secret_free(s);
				buf_release(&a);
				buf_release(&b);
			}
	eckey_release(&k);
	secret_free(big);
	secret_free(w);
}

/* For tests/jwe.bats: open KEY, seal compact|json KEY, key; KEY is a passphrase, or @FILE with an EC key; a message comes from stdin. */
static int filter(char **argv)
{
	const char *name = strcmp(argv[1], "open") == 0 ? argv[2] : argv[3];
	struct secret *w = NULL, *plain = NULL;
	struct err err = { 0 };
	struct buf out = BUF_INIT;
	struct eckey k = { 0 };
	static char text[65536];

	if (strcmp(argv[1], "key") == 0) {
		plain = eckey_generate(&k, &err) == 0 ? eckey_write(&k, true) : NULL;
	} else if (name[0] == '@') {
		FILE *f = fopen(name + 1, "r");
		size_t n = f ? fread(text, 1, sizeof text, f) : 0;
		if (f)
			fclose(f);
		eckey_parse(&k, text, n, &err);
	} else {
		w = word(name);
	}
	size_t len = plain || err.code ? 0 : fread(text, 1, sizeof text, stdin);
	if (len && strcmp(argv[1], "open") == 0)
		plain = jwe_open(text, len, w, w ? NULL : &k, &err);
	else if (len && w)
		jwe_seal_passphrase(&out, strcmp(argv[2], "json") == 0 ? JWE_JSON : JWE_COMPACT, text, len, NULL, w, &err);
	else if (len)
		jwe_seal_ec(&out, strcmp(argv[2], "json") == 0 ? JWE_JSON : JWE_COMPACT, text, len, NULL, &k, &err);
	if (plain)
		fwrite(plain->data, 1, plain->len, stdout);
	fwrite(out.data ? out.data : "", 1, out.len, stdout);
	if (err.code)
		fprintf(stderr, "%s: %s\n", err_name(&err), err.text);
	secret_free(w);
	secret_free(plain);
	eckey_release(&k);
	buf_release(&out);
	return err.code ? 1 : 0;
}

/* The parts of a compact message: p[0 .. 5), each len[i] characters. */
static void split(const struct buf *m, const char *p[5], size_t len[5])
{
	const char *at = m->data, *end = m->data + m->len;
	for (int i = 0; i < 5; i++) {
		const char *dot = i < 4 ? memchr(at, '.', (size_t)(end - at)) : end;
		p[i] = at;
		len[i] = (size_t)((dot ? dot : end) - at);
		at = dot ? dot + 1 : end;
	}
}

/* The content key of a compact message that we wrote under a passphrase. */
static struct secret *content_key(const struct buf *m, const struct secret *w, uint8_t p2s[16])
{
	uint8_t head[512] = { 0 }, salt[64] = "PBES2-HS512+A256KW", wrapped[64];
	const char *p[5];
	size_t len[5];

	split(m, p, len);
	CHECK(base64_decode(BASE64_URL, p[0], len[0], head, sizeof head - 1) > 0);
	const char *at = strstr((char *)head, "\"p2s\":\"");
	CHECK(at && base64_decode(BASE64_URL, at + 7, 22, p2s, 16) == 16);
	memcpy(salt + 19, p2s, 16);
	struct secret *kek = jwe_stretch(w, "SHA512", salt, 19 + 16, JWE_P2C, 32);
	ptrdiff_t n = base64_decode(BASE64_URL, p[1], len[1], wrapped, sizeof wrapped);
	struct secret *cek = kek && n > 0 ? jwe_unwrap(kek, wrapped, (size_t)n) : NULL;
	secret_free(kek);
	return cek;
}

/* Nothing is used twice: salts and one-time keys, content keys, nonces. */
static void fresh(void)
{
	static const uint8_t zero[JWE_CEK_MAX];
	struct secret *w = word("word"), *cek[2] = { NULL, NULL };
	struct buf m[2] = { BUF_INIT, BUF_INIT };
	struct err err = { 0 };
	uint8_t p2s[2][16];
	const char *p[2][5];
	size_t len[2][5];
	struct eckey k;

	CHECK(eckey_generate(&k, &err) == 0);
	for (int ec = 0; ec <= 1; ec++) {
		for (int i = 0; i < 2; i++) {
			m[i].len = 0;
			CHECK((ec ? jwe_seal_ec(&m[i], JWE_COMPACT, "text", 4, NULL, &k, &err) :
			            jwe_seal_passphrase(&m[i], JWE_COMPACT, "text", 4, NULL, w, &err)) == 0);
			split(&m[i], p[i], len[i]);
		}
		for (int part = 0; part < 5; part++)
			CHECK(len[0][part] == len[1][part] && memcmp(p[0][part], p[1][part], len[0][part]) != 0);
		for (int i = 0; i < 2 && !ec; i++) {
			cek[i] = content_key(&m[i], w, p2s[i]);
			CHECK(cek[i] && cek[i]->len == 32 && memcmp(cek[i]->data, zero, 32) != 0);
		}
	}
	CHECK(cek[0] && cek[1] && !secret_equal(cek[0], cek[1]));
	CHECK(memcmp(p2s[0], p2s[1], 16) != 0 && memcmp(p2s[0], zero, 16) != 0);
	for (int i = 0; i < 2; i++) {
		secret_free(cek[i]);
		buf_release(&m[i]);
	}
	eckey_release(&k);
	secret_free(w);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return filter(argv);
	vectors();
	agreement();
	flips();
	refused();
	ec_keys();
	round_trips();
	fresh();
	return check_status("test_jwe");
}
