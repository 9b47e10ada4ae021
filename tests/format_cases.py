"""format_cases.py FOLDER: what docs/FORMAT.md says is accepted, refused or damage, on the worked example with one thing changed and signed anew.

Needs BUILD. Each file gets its verdict from `ct verify`; those that open must decrypt to the view that tests/judge.py gives. Exit status 1 after any
deviation. (tests/vectors has what the reference wrote or judged; here is what it has no say in, and what only a signer can write.)
"""
import base64
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

import format_example as example
import judge

CT = os.environ["BUILD"] + "/ct"
RAW = example.encrypt()[0]
N, _, META, TENSORS = judge.split(RAW)
DATA = RAW[8 + N:]


def signed(**values):
    """The example with other metadata values, each made from the old one by a function."""
    meta = {k: v for k, v in META.items() if k != "__signature__"}
    meta |= {k: f(meta[k]) for k, f in values.items()}
    meta["__signature__"] = base64.b64encode(judge.ed25519_sign(example.SEED, judge.signed_bytes(meta, TENSORS))).decode()
    return example.file(judge.canonical(meta, TENSORS, ()), DATA)


def respelled(old, new):
    """The example with another text of its header, which the signature covers or not."""
    head = RAW[8:8 + N].decode()
    assert old in head
    head = head.replace(old, new).encode()
    return struct.pack("<Q", len(head)) + head + DATA


def put(*path):
    """A function for signed(): puts the last of path where the others lead."""
    *path, value = path

    def change(text):
        at = top = json.loads(text)
        for p in path[:-1]:
            at = at[p]
        at[path[-1]] = value
        return judge.text(top)
    return change


def entry(f):
    """A function for signed(): f makes the entry of w from the old one."""
    def change(text):
        top = json.loads(text)
        return judge.text(top | {"w": f(top["w"])})
    return change


def digests_of_w(wrong):
    sums = [hashlib.sha256(DATA[a:b]).digest() for a, b in ((0, 8), (8, 16), (16, 20))]
    if wrong is not None:
        sums[wrong] = bytes(32)
    return put("tensors", "w", base64.b64encode(b"".join(sums)).decode())


def keys(*path):
    return signed(__crypto_keys__=put(*path))


def encryption(f):
    return signed(__encryption__=f)


def policy(f):
    return signed(__policy__=f)


def digests(*path):
    return signed(__digests__=put(*path))


def deep(levels):
    return respelled('"w":{', '"w":{"u":' + "[" * levels + "]" * levels + ",")


W = '{"dtype":"F32","shape":[5],"data_offsets":[0,20]}'
CASES = {
    "ok": {
        "as it is": signed(),
        "kid is null": keys("enc", "kid", None),
        "jku": keys("enc", "jku", "file:///nowhere"),
        "alg in another spelling": keys("enc", "alg", "AES-128-GCM"),
        "version 1, in chunks": keys("version", "1"),
        "unknown member of __crypto_keys__": keys("more", [1]),
        "alg with an escape": signed(__crypto_keys__=lambda t: t.replace("aes128gcm", "\\u0061es128gcm")),
        "entry as an array": encryption(entry(lambda e: list(e.values())[:3] + [None, ""] + list(e.values())[3:])),
        "entry with a null that has no use": encryption(entry(lambda e: e | {"iv": None})),
        "entry with an iv that has no use": encryption(entry(lambda e: e | {"iv": "AAAA"})),
        "unknown member of an entry": encryption(entry(lambda e: e | {"more": {}})),
        "entry without a tensor, and no tags": encryption(lambda t: judge.text(json.loads(t) | {"gone": json.loads(t)["w"] | {"tags": ""}})),
        "policy as an array": policy(lambda t: judge.text(list(json.loads(t).values()))),
        "white space around the policy": policy(put("local", f" \n{judge.DEFAULT_POLICY}\t")),
        "any remote policy": policy(put("remote", "no such language")),
        "unknown member of __policy__": policy(put("more", 1)),
        "largest piece": digests("chunk_size", 4194304),
        "digests of an empty tensor": digests("tensors", "none", ""),
        "digests of an encrypted tensor": signed(__digests__=digests_of_w(None)),
        "tensor as an array": respelled(W, '["F32",[5],[0,20]]'),
        "dtype as an object": respelled('"F32"', '{"F32":null}'),
        "unknown member of a tensor": respelled('"w":{', '"w":{"more":1,'),
        "64 levels": deep(63),
    },
    "EIO": {
        "wrong digest of a plain tensor": digests("tensors", "p", base64.b64encode(bytes(32)).decode()),
        "wrong digest of a chunk whose tag is right": signed(__digests__=digests_of_w(1)),
    },
    "EBADMSG": {
        "key material": keys("enc", "k", "AAAA"),
        "ed25519 with a '-'": keys("sign", "alg", "ed-25519"),
        "entry as an array without iv and tag": encryption(entry(lambda e: list(e.values()))),
        "entry as an array of eight": encryption(entry(lambda e: list(e.values())[:3] + [None, ""] + list(e.values())[3:] + [None])),
        "version as a number": keys("version", 2),
        "chunk_size 0": keys("chunk_size", 0),
        "iv that has no use and is not base64": encryption(entry(lambda e: e | {"iv": "A"})),
        "one tag too many": encryption(entry(lambda e: e | {"tags": base64.b64encode(base64.b64decode(e["tags"]) + bytes(16)).decode()})),
        "NUL in the remote policy": policy(put("remote", "a\0")),
        "unknown member of __digests__": digests("more", 1),
        "another hash": digests("alg", "sha512"),
        "pieces of 0": digests("chunk_size", 0),
        "pieces over 4 MiB": digests("chunk_size", 4194305),
        "piece size as 4096.0": digests("chunk_size", 4096.0),
        "one digest for three pieces": digests("chunk_size", 1),
        "a plain tensor without digests": digests("tensors", {}),
        "digests of no tensor": digests("tensors", "gone", ""),
        "a list of digests twice": signed(__digests__=lambda t: t.replace('"tensors":{', '"tensors":{"p":"",')),
        "a digest with an escape": signed(__digests__=lambda t: t.replace('="', '\\u003d"')),
        "dtype twice": respelled('"w":{', '"w":{"dtype":"F32",'),
        "array of four": respelled(W, '["F32",[5],[0,20],1]'),
        "offset 20.0": respelled("[0,20]", "[0,20.0]"),
        "offset -0": respelled("[0,20]", "[-0,20]"),
        "65 levels": deep(64),
        "shape changed": respelled('"F32","shape":[5]', '"U8","shape":[20]'),
        "no signature": respelled('"__signature__"', '"__signaturf__"'),
    },
}


def run(*args):
    return subprocess.run([CT, *args], capture_output=True, text=True, timeout=60)


def main(folder):
    key_path, path, out = (str(pathlib.Path(folder) / x) for x in ("keys.jwk", "x.safetensors", "out"))
    with open(os.open(key_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        json.dump(example.keyset(), f)
    bad = 0
    for want, cases in CASES.items():
        for name, raw in cases.items():
            pathlib.Path(path).write_bytes(raw)
            r = run("verify", "--json", "--keys", key_path, path)
            x = json.loads(r.stdout)
            got, damaged = "ok" if x["ok"] else x["error"], [(f["begin"], f["end"]) for f in x.get("faults", [])]
            right = got == want and (want == "EBADMSG" or damaged == judge.view(raw, example.keyset())[1])
            if right and want == "ok":
                right = run("decrypt", "-q", "--force", "--keys", key_path, path, out).returncode == 0
                right = right and pathlib.Path(out).read_bytes() == judge.view(raw, example.keyset())[0]
            if not right:
                bad += 1
                print(f"{name}: should be {want}: {r.stdout.strip()} {r.stderr.strip()}")
    print(sum(map(len, CASES.values())), "files")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
