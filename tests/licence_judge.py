"""What licences are to somebody else's JOSE library (jwcrypto) and KDF (cryptography): reads ours, makes others. Needs Debian's python3-jwcrypto.

check LICENCE KEYS CUSTOMER SET   verifies LICENCE by the publisher's KEYS, opens it with CUSTOMER, derives its master key from KEYS itself; writes the set
make LICENCE KEYS EXPRESSION      LICENCE's payload and header, changed by EXPRESSION (statements on p, h; `swap` is another licence's), signed by KEYS
list KEYS JSON                    a list of revoked licences
same A B                          two encrypted models differ in their header alone; prints what stands in B's __licence__
"""
import base64
import json
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwcrypto import jwe, jwk, jws


def unb64(text):
    return base64.b64decode(text.rstrip("=").translate(str.maketrans("-_", "+/")) + "=" * (-len(text.rstrip("=")) % 4), validate=True)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def publisher(path):
    """(master key, signing key for jwcrypto) of a set in the reference's spelling."""
    with open(path) as f:
        keys = json.load(f)["keys"]
    oct_ = next(k for k in keys if k["kty"] == "oct")
    okp = next(k for k in keys if k["kty"].lower() == "okp")
    signer = {"kty": "OKP", "crv": "Ed25519", "x": b64(unb64(okp["x"])), "d": b64(unb64(okp["d"]))}
    return unb64(oct_["k"]), okp["kid"], jwk.JWK(**signer)


def read(path):
    with open(path) as f:
        return f.read().strip()


def head_of(token):
    return json.loads(unb64(token.split(".")[0]))


def payload_of(token):
    return json.loads(unb64(token.split(".")[1]))


def check(path, keys, customer, out):
    master, kid, signer = publisher(keys)
    token = jws.JWS()
    token.deserialize(read(path))
    token.allowed_algs = ["EdDSA"]
    token.verify(signer)
    head, p = json.loads(token.objects["protected"]), json.loads(token.payload)
    assert head == {"alg": "EdDSA", "typ": "ct-licence", "kid": kid, "jwk": json.loads(signer.export_public())}, head
    with open(customer) as f:
        own = json.load(f)
    own.pop("ct_publisher")
    own = jwk.JWK(**own)
    to = jwk.JWK(**p["to"])
    assert to.thumbprint() == own.thumbprint() == own.get("kid") and not to.has_private
    box = jwe.JWE()
    box.deserialize(p["keys"], key=own)
    inner = json.loads(box.payload)["keys"]
    assert len(inner) == 2 and inner[0]["kid"] == "licence-" + p["id"] and "d" not in inner[1] and inner[1]["x"] == head["jwk"]["x"], inner
    info = b"ct licence 1\0" + p["id"].encode() + b"\0" + own.thumbprint().encode() + b"\0"
    kek = HKDF(algorithm=hashes.SHA256(), length=len(master), salt=None, info=info).derive(master)
    assert unb64(inner[0]["k"]) == kek and kek != master
    for key in inner:  # in the reference's spelling, which judge.py reads
        key.update({m: base64.b64encode(unb64(key[m])).decode() for m in ("k", "x") if m in key})
    inner[0]["alg"] = {"A256GCM": "aes256gcm", "A128GCM": "aes128gcm", "C20P": "chacha20poly1305"}[inner[0]["alg"]]
    inner[1].update(kty="okp", alg="ed25519")
    with open(out, "w") as f:
        json.dump({"keys": inner}, f)
    print(json.dumps({k: v for k, v in p.items() if k not in ("keys", "to")}, sort_keys=True))


def sign(head, payload, signer, raw_head=None):
    """As any signer would: what is in the header is the caller's."""
    first = b64((raw_head or json.dumps(head)).encode())
    second = b64(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    made = jws.JWS(unb64(second))
    if raw_head is None and head.get("alg") == "EdDSA" and "crit" not in head and "b64" not in head:
        made.add_signature(signer, None, json.dumps(head), None)
        return made.serialize(compact=True)
    key = signer.get_op_key("sign")
    return f"{first}.{second}." + b64(key.sign(f"{first}.{second}".encode()))


def make(path, keys, change):
    _, _, signer = publisher(keys)
    token = read(path)
    scope = {"h": head_of(token), "p": payload_of(token), "swap": lambda other: payload_of(read(other)), "raw_head": None, "raw": None, "json": json,
             "public": json.loads(signer.export_public())}
    exec(change, scope)
    print(sign(scope["h"], scope["raw"] if scope["raw"] is not None else scope["p"], signer, scope["raw_head"]))


def make_list(keys, payload):
    _, _, signer = publisher(keys)
    print(sign({"alg": "EdDSA", "typ": "ct-licence-revoked", "jwk": json.loads(signer.export_public())}, payload.encode(), signer))


def same(a, b):
    heads, datas = [], []
    for path in (a, b):
        with open(path, "rb") as f:
            raw = f.read()
        n = struct.unpack("<Q", raw[:8])[0]
        heads.append(json.loads(raw[8:8 + n]))
        datas.append(raw[8 + n:])
    assert datas[0] == datas[1], "the data differs"
    metas = [h.pop("__metadata__") for h in heads]
    assert heads[0] == heads[1], "the tensors differ"
    ours = {"__crypto_keys__", "__encryption__", "__signature__", "__licence__"}
    for k in set(metas[0]) | set(metas[1]):
        assert k in ours or metas[0].get(k) == metas[1].get(k), k
    print(metas[1]["__licence__"])


if __name__ == "__main__":
    {"check": check, "make": make, "list": make_list, "same": same}[sys.argv[1]](*sys.argv[2:])
