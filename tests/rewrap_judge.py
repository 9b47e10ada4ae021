"""rewrap_judge.py OLD_KEYS OLD NEW_KEYS NEW [POLICY]: NEW is OLD under other keys, and nothing else.

The judge of ct rewrap: by judge.py, which shares no code with ct. POLICY: a file with the policy that NEW must have (default: OLD's).
Exit status 0, or an assertion that says what differs.
"""
import base64
import json
import sys

import judge


def key(keyset, kty):
    return [k for k in keyset["keys"] if k["kty"].lower() == kty][0]


def entries(meta):
    return {name: {k: base64.b64decode(v) for k, v in e.items() if isinstance(v, str)} for name, e in json.loads(meta["__encryption__"]).items()}


def same(what, a, b):
    assert a == b, f"{what} differs: {str(a)[:300]} became {str(b)[:300]}"


def check_header(old, new, new_keys, policy):
    _, _, was, tensors = judge.split(old)
    n, _, now, now_tensors = judge.split(new)
    same("the list of tensors", tensors, now_tensors)
    same("the names of the metadata", sorted(was), sorted(now))
    for k in was:
        if k not in judge.CRYPTO_KEYS:
            same(k, was[k], now[k])
    a, b = json.loads(was["__crypto_keys__"]), json.loads(now["__crypto_keys__"])
    same("version", a["version"], b["version"])
    same("algorithm", judge.spelled(a["enc"]["alg"]), b["enc"]["alg"])
    same("chunk_size", a.get("chunk_size", 2 << 20 if a["version"] == "2" else None), b.get("chunk_size"))
    enc, sign = key(new_keys, "oct"), key(new_keys, "okp")
    same("the master key's name", b["enc"].get("kid"), enc.get("kid"))
    same("the signing key's name", b["sign"].get("kid"), sign.get("kid"))
    assert len({"k", "x", "jku"} & (set(b["enc"]) | set(b["sign"]))) == 0, "key material or a jku in the header"
    a, b = json.loads(was["__policy__"]), json.loads(now["__policy__"])
    a = a if isinstance(a, dict) else dict(zip(("local", "remote"), a))
    same("the policy", policy if policy is not None else a["local"], b["local"])
    same("the remote policy", a["remote"], b["remote"])
    assert judge.ed25519_verify(base64.b64decode(sign["x"]), judge.signed_bytes(now, now_tensors), base64.b64decode(now["__signature__"])), \
        "the new signature is wrong"
    same("the header's form", new[8:8 + n], judge.canonical(now, now_tensors, ()).ljust(n))


def check_entries(old, new):
    was, now = entries(judge.split(old)[2]), entries(judge.split(new)[2])
    same("the names of the entries", sorted(was, key=str.encode), list(now))
    before = {e[k] for e in was.values() for k in ("wrapped_key", "key_iv", "key_tag")}
    after = [e[k] for e in now.values() for k in ("wrapped_key", "key_iv", "key_tag")]
    assert len(set(after)) == len(after) and not before & set(after), "a wrapped key, an IV or a tag is not new"
    for name, e in now.items():
        for k in ("iv", "tag", "base_iv", "tags"):
            if k in e:
                same(f"{name}: {k}", was[name].get(k, b""), e[k])
    return was


def main(old_keys, old, new_keys, new, policy=None):
    old_keys, new_keys = (json.load(open(p)) for p in (old_keys, new_keys))
    old, new = (open(p, "rb").read() for p in (old, new))
    if policy is not None:
        policy = open(policy, newline="", encoding="utf-8").read()
    check_header(old, new, new_keys, policy)
    check_entries(old, new)
    a, b = 8 + judge.split(old)[0], 8 + judge.split(new)[0]
    assert old[a:] == new[b:], "the data bytes differ"
    same("the data keys", judge.data_keys(old, old_keys), judge.data_keys(new, new_keys))
    (was, bad), (now, now_bad) = judge.view(old, old_keys), judge.view(new, new_keys)
    same("the view's header", was[8:a].rstrip(), now[8:b].rstrip())
    assert was[a:] == now[b:], "the view's data differs"
    same("what is damaged", [(x - a, y - a) for x, y in bad], [(x - b, y - b) for x, y in now_bad])


if __name__ == "__main__":
    main(*sys.argv[1:])
