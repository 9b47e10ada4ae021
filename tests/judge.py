"""An independent reader of CryptoTensors files, for tests to compare with: the format as docs/FORMAT.md tells it, in Python.

It shares no code with ctshim; its ciphers are libcrypto's, through ctypes, so that it needs no package. It does not look at
signatures or policies: it says what the bytes of a file that is to be served must be.
"""
import base64
import ctypes
import ctypes.util
import json
import struct

CRYPTO_KEYS = ("__crypto_keys__", "__encryption__", "__policy__", "__signature__")
HIDDEN = CRYPTO_KEYS + ("__digests__", "__licence__")
DEFAULT_POLICY = "package model\nallow = true"

_c = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for _name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm", "EVP_aes_256_gcm", "EVP_chacha20_poly1305", "EVP_PKEY_new_raw_private_key",
              "EVP_MD_CTX_new"):
    getattr(_c, _name).restype = ctypes.c_void_p
_GET_TAG, _SET_TAG = 0x10, 0x11
_CIPHERS = {"aes128gcm": _c.EVP_aes_128_gcm, "aes256gcm": _c.EVP_aes_256_gcm, "chacha20poly1305": _c.EVP_chacha20_poly1305}


def aead_open(alg, key, iv, data, tag):
    """The plaintext, or None if the tag is wrong."""
    ctx = ctypes.c_void_p(_c.EVP_CIPHER_CTX_new())
    out, n = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
    try:
        assert _c.EVP_DecryptInit_ex(ctx, ctypes.c_void_p(_CIPHERS[alg]()), None, key, iv) == 1
        assert not data or _c.EVP_DecryptUpdate(ctx, out, ctypes.byref(n), data, len(data)) == 1
        assert _c.EVP_CIPHER_CTX_ctrl(ctx, _SET_TAG, 16, tag) == 1
        ok = _c.EVP_DecryptFinal_ex(ctx, ctypes.byref(out, n.value), ctypes.byref(ctypes.c_int())) == 1
    finally:
        _c.EVP_CIPHER_CTX_free(ctx)
    return out.raw[:len(data)] if ok else None


def aead_seal(alg, key, iv, data):
    """(ciphertext, tag)."""
    ctx = ctypes.c_void_p(_c.EVP_CIPHER_CTX_new())
    out, n, tag = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int(), ctypes.create_string_buffer(16)
    try:
        assert _c.EVP_EncryptInit_ex(ctx, ctypes.c_void_p(_CIPHERS[alg]()), None, key, iv) == 1
        assert _c.EVP_EncryptUpdate(ctx, out, ctypes.byref(n), data, len(data)) == 1
        assert _c.EVP_EncryptFinal_ex(ctx, ctypes.byref(out, n.value), ctypes.byref(ctypes.c_int())) == 1
        assert _c.EVP_CIPHER_CTX_ctrl(ctx, _GET_TAG, 16, tag) == 1
    finally:
        _c.EVP_CIPHER_CTX_free(ctx)
    return out.raw[:len(data)], tag.raw


def _ed25519(d):
    key = _c.EVP_PKEY_new_raw_private_key(1087, None, d, ctypes.c_size_t(32))  # EVP_PKEY_ED25519
    assert key
    return ctypes.c_void_p(key)


def sign_public(d):
    """The public half of an Ed25519 key."""
    key, out, n = _ed25519(d), ctypes.create_string_buffer(32), ctypes.c_size_t(32)
    try:
        assert _c.EVP_PKEY_get_raw_public_key(key, out, ctypes.byref(n)) == 1 and n.value == 32
    finally:
        _c.EVP_PKEY_free(key)
    return out.raw


def sign(d, message):
    """Ed25519: 64 bytes."""
    key, ctx = _ed25519(d), ctypes.c_void_p(_c.EVP_MD_CTX_new())
    out, n = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    try:
        assert _c.EVP_DigestSignInit(ctx, None, None, None, key) == 1
        assert _c.EVP_DigestSign(ctx, out, ctypes.byref(n), message, ctypes.c_size_t(len(message))) == 1 and n.value == 64
    finally:
        _c.EVP_MD_CTX_free(ctx)
        _c.EVP_PKEY_free(key)
    return out.raw


def spelled(alg):
    return alg.replace("-", "").lower()


def split(raw):
    """(N, header, metadata, [(name, dtype, shape, begin, end)] by offset); offsets count from the data section."""
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    meta = head.pop("__metadata__", None) or {}
    tensors = []
    for name, t in head.items():
        dtype, shape, (a, b) = t if isinstance(t, list) else (t["dtype"], t["shape"], t["data_offsets"])
        tensors.append((name, dtype, shape, a, b))
    tensors.sort(key=lambda t: t[3:])
    return n, head, meta, tensors


def view_header(n, meta, tensors):
    """The header that an application sees, padded to N bytes."""
    def text(v):
        return json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    user = {k: meta[k] for k in sorted(meta, key=lambda k: k.encode()) if k not in HIDDEN}
    parts = ['"__metadata__":' + text(user)] if user else []
    parts += [text(name) + ":" + text({"dtype": d, "shape": s, "data_offsets": [a, b]}) for name, d, s, a, b in tensors]
    out = ("{" + ",".join(parts) + "}").encode()
    assert len(out) <= n, "the view's header is longer than N"
    return out.ljust(n)


def _key(keyset, kty, kid):
    fit = [k for k in keyset["keys"] if k["kty"].lower() == kty and kid in (None, k.get("kid"))]
    return fit[0]


def _entry(e):
    return {k: base64.b64decode(v) for k, v in e.items() if isinstance(v, str)}


def data_keys(raw, keyset):
    """{name: data key} of an encrypted file."""
    meta = split(raw)[2]
    keys, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    kek = _key(keyset if "keys" in keyset else {"keys": [keyset]}, "oct", keys["enc"].get("kid"))
    kek, alg, found = base64.b64decode(kek["k"]), spelled(keys["enc"]["alg"]), {}
    for name, e in entries.items():
        e = _entry(e)
        found[name] = aead_open(alg, kek, e["key_iv"], e["wrapped_key"], e["key_tag"])
        assert found[name] is not None, f"{name}: the data key does not unwrap"
    return found


def chunks(raw):
    """[(tensor, number, begin, end)] of every chunk, offsets in the file. raw: the file, or no more than its header."""
    n, _, meta, tensors = split(raw)
    keys, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    size = keys.get("chunk_size", 2 << 20 if keys["version"] == "2" else None)
    return [(name, i, 8 + n + at, 8 + n + min(at + (size or b - a), b))
            for name, _, _, a, b in tensors if name in entries for i, at in enumerate(range(a, b, size or b - a or 1))]


def view(raw, keyset):
    """(bytes of the view, damaged ranges [(begin, end)] in it). raw: the whole encrypted file; keyset: a parsed JWK set."""
    n, _, meta, tensors = split(raw)
    if "__encryption__" not in meta:
        return raw, []
    keys, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    alg, deks = spelled(keys["enc"]["alg"]), data_keys(raw, keyset)
    size = keys.get("chunk_size", 2 << 20 if keys["version"] == "2" else None)
    out, bad = bytearray(raw), []
    out[8:8 + n] = view_header(n, meta, tensors)
    for name, _, _, a, b in tensors:
        if name not in entries or a == b:
            continue
        e, key = _entry(entries[name]), deks[name]
        step = size or b - a
        for i, at in enumerate(range(a, b, step)):
            begin, end = 8 + n + at, 8 + n + min(at + step, b)
            plain = None
            if not size:
                plain = aead_open(alg, key, e["iv"], raw[begin:end], e["tag"])
            else:
                count = struct.unpack(">I", e["base_iv"][8:])[0] + i
                if count < 1 << 32:
                    iv = e["base_iv"][:8] + struct.pack(">I", count)
                    plain = aead_open(alg, key, iv, raw[begin:end], e["tags"][16 * i:16 * i + 16])
            if plain is None:
                bad.append((begin, end))
                plain = bytes(end - begin)
            out[begin:end] = plain
    return bytes(out), bad
