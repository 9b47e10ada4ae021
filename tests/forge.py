"""What only a holder of keys can make: a header signed anew, and a chunk of other content under the tag that the header has.

For tests that want to know whether it is noticed. On the judge's side: shares no code with ctshim. AES-GCM's tag is a polynomial in the
ciphertext over GF(2^128), evaluated at a point H that the data key decides (NIST SP 800-38D): who has the key chooses all blocks but one
and solves for that one.
"""
import base64
import ctypes
import json
import struct

import judge

_c = judge._c
for _name in ("EVP_aes_128_ecb", "EVP_aes_256_ecb"):
    getattr(_c, _name).restype = ctypes.c_void_p
_ECB = {16: _c.EVP_aes_128_ecb, 32: _c.EVP_aes_256_ecb}


def aes_block(key, block):
    ctx = ctypes.c_void_p(_c.EVP_CIPHER_CTX_new())
    out, n = ctypes.create_string_buffer(32), ctypes.c_int()
    try:
        assert _c.EVP_EncryptInit_ex(ctx, ctypes.c_void_p(_ECB[len(key)]()), None, key, None) == 1
        assert _c.EVP_EncryptUpdate(ctx, out, ctypes.byref(n), block, 16) == 1
    finally:
        _c.EVP_CIPHER_CTX_free(ctx)
    return out.raw[:16]


def mul(x, y):
    """In GHASH's field: the first bit of a block is the coefficient of 1."""
    z = 0
    for i in range(127, -1, -1):
        if x >> i & 1:
            z ^= y
        y = y >> 1 ^ (0xe1 << 120 if y & 1 else 0)
    return z


def power(x, n):
    out = 1 << 127
    while n:
        if n & 1:
            out = mul(out, x)
        x, n = mul(x, x), n >> 1
    return out


def _xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def forged(raw, keyset, tensor, number, text):
    """The file with chunk `number` of `tensor` beginning with `text` (a multiple of 16 bytes) in place of what it began with. One block after it
    becomes noise; no byte of the header changes, and the tag in it is right."""
    place = [(begin, end) for name, i, begin, end in judge.chunks(raw) if (name, i) == (tensor, number)]
    (begin, end), = place
    assert len(text) % 16 == 0 and end - begin >= len(text) + 16, "no block left to solve for"
    blocks, h = -(-(end - begin) // 16), int.from_bytes(aes_block(judge.data_keys(raw, keyset)[tensor], bytes(16)), "big")
    plain = judge.view(raw, keyset)[0][begin:begin + len(text)]
    change = _xor(plain, text)  # of the ciphertext as well: it is the plaintext and a key stream
    total = 0
    for i in range(0, len(text), 16):
        total ^= mul(int.from_bytes(change[i:i + 16], "big"), power(h, blocks + 1 - i // 16))
    fix = mul(total, power(power(h, blocks + 1 - len(text) // 16), (1 << 128) - 2))
    out, change = bytearray(raw), change + fix.to_bytes(16, "big")
    out[begin:begin + len(change)] = _xor(raw[begin:begin + len(change)], change)
    return bytes(out)


def signed(raw, keyset, change):
    """The file with the header that change(metadata) leaves, signed by the set's key. N grows where it must."""
    n, _, meta, tensors = judge.split(raw)
    change(meta)
    signer, = [k for k in keyset["keys"] if k["kty"] == "okp"]
    meta["__signature__"] = base64.b64encode(judge.ed25519_sign(base64.b64decode(signer["d"]), judge.signed_bytes(meta, tensors))).decode()
    head = judge.canonical(meta, tensors, ())
    m = max(n, -(-len(head) // 8) * 8)
    return struct.pack("<Q", m) + head.ljust(m) + raw[8 + n:]


def bare(raw, keyset):
    """Without __digests__: as the reference writes partly encrypted files."""
    return signed(raw, keyset, lambda meta: meta.pop("__digests__"))


def load(path):
    with open(path, "rb") as f:
        return json.loads(f.read())
