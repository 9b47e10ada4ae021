"""scale.py OUT KEYS COUNT: a partly encrypted model of COUNT tensors of 16 bytes, of which the first is encrypted, written without ctshim.

The signature comes from the openssl command, the cipher from libcrypto (judge.py).
"""
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile

import judge


def sign(seed, text):
    """Ed25519 by the openssl command: a PKCS#8 key is a fixed prefix and the seed."""
    der = bytes.fromhex("302e020100300506032b657004220420") + seed
    with tempfile.TemporaryDirectory() as d:
        for name, data in (("k", der), ("t", text)):
            with open(f"{d}/{name}", "wb") as f:
                f.write(data)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", f"{d}/k", "-in", f"{d}/t"],
                              check=True, capture_output=True).stdout


def text(v):
    return json.dumps(v, ensure_ascii=False, separators=(",", ":"))


def main():
    out, keyfile, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    keys = {k["kty"]: k for k in json.load(open(keyfile))["keys"]}
    dek, key_iv, base_iv = os.urandom(32), os.urandom(12), os.urandom(8) + bytes(4)
    wrapped, key_tag = judge.aead_seal("aes256gcm", base64.b64decode(keys["oct"]["k"]), key_iv, dek)
    data, tags = judge.aead_seal("aes256gcm", dek, base_iv, b"sixteen bytes !!")
    entry = {"wrapped_key": wrapped, "key_iv": key_iv, "key_tag": key_tag, "base_iv": base_iv, "tags": tags}
    policy = judge.DEFAULT_POLICY
    meta = {
        "__crypto_keys__": text({"chunk_size": 4096, "enc": {"alg": "aes256gcm", "kid": keys["oct"]["kid"], "kty": "oct"},
                                 "sign": {"alg": "ed25519", "kid": keys["okp"]["kid"], "kty": "okp"}, "version": "2"}),
        "__encryption__": text({"t0": {k: base64.b64encode(v).decode() for k, v in entry.items()}}),
        "__policy__": text({"local": policy, "remote": policy}),
    }
    tensors = ",".join('"t%d":{"dtype":"F32","shape":[2,2],"data_offsets":[%d,%d]}' % (i, 16 * i, 16 * i + 16) for i in range(count))
    signed = '{"__metadata__":' + text(meta) + "," + tensors + "}"
    meta["__signature__"] = base64.b64encode(sign(base64.b64decode(keys["okp"]["d"]), signed.encode())).decode()
    header = ('{"__metadata__":' + text(meta) + "," + tensors + "}").encode()
    header += b" " * (-len(header) % 8)
    assert len(header) <= 100_000_000
    with open(out, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + data)
        f.truncate(8 + len(header) + 16 * count)
    print(len(header))


main()
