"""An independent reader of CryptoTensors files, for tests to compare with: the format as docs/FORMAT.md tells it, in Python.

It shares no code with ctshim; its ciphers are libcrypto's, through ctypes, so that it needs no package. It does not look at
policies, and at signatures only where it is asked to: it says what the bytes of a file that is to be served must be.
"""
import base64
import ctypes
import ctypes.util
import hashlib
import json
import struct

CRYPTO_KEYS = ("__crypto_keys__", "__encryption__", "__policy__", "__signature__")
HIDDEN = CRYPTO_KEYS + ("__digests__", "__licence__")
DEFAULT_POLICY = "package model\nallow = true"

_c = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for _name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm", "EVP_aes_256_gcm", "EVP_chacha20_poly1305", "EVP_MD_CTX_new",
              "EVP_PKEY_new_raw_private_key", "EVP_PKEY_new_raw_public_key"):
    getattr(_c, _name).restype = ctypes.c_void_p
_GET_TAG, _SET_TAG, _ED25519 = 0x10, 0x11, 1087
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


def _signing(make, step, key, *args):
    """One EVP_DigestSign or EVP_DigestVerify with a raw Ed25519 key: its status."""
    pkey, ctx = ctypes.c_void_p(make(_ED25519, None, key, 32)), ctypes.c_void_p(_c.EVP_MD_CTX_new())
    try:
        assert pkey, "not an Ed25519 key"
        assert getattr(_c, step + "Init")(ctx, None, None, None, pkey) == 1
        return getattr(_c, step)(ctx, *args)
    finally:
        _c.EVP_MD_CTX_free(ctx)
        _c.EVP_PKEY_free(pkey)


def ed25519_sign(seed, message):
    """The 64 bytes of RFC 8032."""
    out, n = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    args = (out, ctypes.byref(n), message, ctypes.c_size_t(len(message)))
    assert _signing(_c.EVP_PKEY_new_raw_private_key, "EVP_DigestSign", seed, *args) == 1
    return out.raw


def ed25519_verify(public, message, signature):
    args = (signature, ctypes.c_size_t(len(signature)), message, ctypes.c_size_t(len(message)))
    return _signing(_c.EVP_PKEY_new_raw_public_key, "EVP_DigestVerify", public, *args) == 1


def ed25519_public(seed):
    out, n = ctypes.create_string_buffer(32), ctypes.c_size_t(32)
    pkey = ctypes.c_void_p(_c.EVP_PKEY_new_raw_private_key(_ED25519, None, seed, ctypes.c_size_t(32)))
    assert _c.EVP_PKEY_get_raw_public_key(pkey, out, ctypes.byref(n)) == 1
    _c.EVP_PKEY_free(pkey)
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
        dtype = dtype if isinstance(dtype, str) else list(dtype)[0]
        tensors.append((name, dtype, shape, a, b))
    tensors.sort(key=lambda t: t[3:])
    return n, head, meta, tensors


def text(v):
    """Compact JSON, as everything in a file is written."""
    return json.dumps(v, ensure_ascii=False, separators=(",", ":"))


def canonical(meta, tensors, without):
    """The header in its one spelling, with the metadata that is not in `without`."""
    kept = {k: meta[k] for k in sorted(meta, key=lambda k: k.encode()) if k not in without}
    parts = ['"__metadata__":' + text(kept)] if kept else []
    parts += [text(name) + ":" + text({"dtype": d, "shape": s, "data_offsets": [a, b]}) for name, d, s, a, b in tensors]
    return ("{" + ",".join(parts) + "}").encode()


def signed_bytes(meta, tensors):
    return canonical(meta, tensors, ("__signature__",))


def view_header(n, meta, tensors):
    """The header that an application sees, padded to N bytes."""
    out = canonical(meta, tensors, HIDDEN)
    assert len(out) <= n, "the view's header is longer than N"
    return out.ljust(n)


def _key(keyset, kty, kid):
    fit = [k for k in keyset["keys"] if k["kty"].lower() == kty and kid in (None, k.get("kid"))]
    return fit[0]


def _chunk_size(keys):
    """None: not chunked."""
    return keys.get("chunk_size", 2 << 20 if keys["version"] == "2" else None)


def _entry(e, keys):
    if isinstance(e, list):
        e = dict(zip(("wrapped_key", "key_iv", "key_tag", "iv", "tag", "base_iv", "tags"), e))
    names = ["wrapped_key", "key_iv", "key_tag"] + (["base_iv", "tags"] if _chunk_size(keys) else ["iv", "tag"])
    return {k: base64.b64decode(e[k]) for k in names}


def data_keys(raw, keyset):
    """{name: data key} of an encrypted file."""
    meta = split(raw)[2]
    keys, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    kek = _key(keyset if "keys" in keyset else {"keys": [keyset]}, "oct", keys["enc"].get("kid"))
    kek, alg, found = base64.b64decode(kek["k"]), spelled(keys["enc"]["alg"]), {}
    for name, e in entries.items():
        e = _entry(e, keys)
        found[name] = aead_open(alg, kek, e["key_iv"], e["wrapped_key"], e["key_tag"])
        assert found[name] is not None, f"{name}: the data key does not unwrap"
    return found


def chunk_iv(base_iv, i):
    """None: the counter overflows."""
    count = struct.unpack(">I", base_iv[8:])[0] + i
    return base_iv[:8] + struct.pack(">I", count) if count < 1 << 32 else None


def _extents(n, meta, tensors):
    """(tensor, number, begin, end, entry or None, digest or None) of all that is checked as a whole: chunks of encrypted tensors,
    pieces of plain ones that have digests."""
    keys, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    size = _chunk_size(keys)
    digests = json.loads(meta.get("__digests__", '{"chunk_size":1,"tensors":{}}'))
    for name, _, _, a, b in tensors:
        entry = _entry(entries[name], keys) if name in entries else None
        sums = base64.b64decode(digests["tensors"][name], validate=True) if name in digests["tensors"] else None
        if entry is None and sums is None:
            continue
        step = (size if entry else digests["chunk_size"]) or b - a or 1
        pieces = range(a, b, step)
        assert sums is None or len(sums) == 32 * len(pieces), f"{name}: not a digest a piece"
        for i, at in enumerate(pieces):
            yield name, i, 8 + n + at, 8 + n + min(at + step, b), entry, sums and sums[32 * i:32 * i + 32]


def chunks(raw):
    """[(tensor, number, begin, end)] of all that is checked as a whole, offsets in the file. raw: the file, or no more than its header."""
    n, _, meta, tensors = split(raw)
    return [x[:4] for x in _extents(n, meta, tensors)]


def _plain(alg, key, chunked, entry, i, data):
    """Chunk i of an encrypted tensor, or None."""
    if not chunked:
        return aead_open(alg, key, entry["iv"], data, entry["tag"])
    iv = chunk_iv(entry["base_iv"], i)
    return iv and aead_open(alg, key, iv, data, entry["tags"][16 * i:16 * i + 16])


def view(raw, keyset):
    """(bytes of the view, damaged ranges [(begin, end)] in it). raw: the whole encrypted file; keyset: a parsed JWK set."""
    n, _, meta, tensors = split(raw)
    if "__encryption__" not in meta:
        return raw, []
    keys, deks = json.loads(meta["__crypto_keys__"]), data_keys(raw, keyset)
    alg, chunked = spelled(keys["enc"]["alg"]), _chunk_size(keys) is not None
    out, bad = bytearray(raw), []
    out[8:8 + n] = view_header(n, meta, tensors)
    for name, i, begin, end, entry, digest in _extents(n, meta, tensors):
        data = bytes(raw[begin:end])
        plain = _plain(alg, deks[name], chunked, entry, i, data) if entry else data
        if plain is None or digest not in (None, hashlib.sha256(data).digest()):
            bad.append((begin, end))
            plain = bytes(end - begin)
        out[begin:end] = plain
    return bytes(out), bad
