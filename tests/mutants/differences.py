"""The numbers of the list in docs/FORMAT.md, "Where we differ from the reference", by which a verdict may differ.

A difference counts as number N only if our verdict and our words are those of N and an independent look at the file finds what N
is about: a wrong verdict of ours has no number to hide behind.
"""
import base64
import hashlib
import re

import judge
from .tree import Obj, parse, signed_bytes

NO_HEADER = LookupError, ValueError, TypeError, StopIteration, AttributeError, RecursionError  # what looking at one may end in

ENTRY = "wrapped_key", "key_iv", "key_tag", "iv", "tag", "base_iv", "tags"


class Look:
    """A file's header with everything that is there twice."""

    def __init__(self, raw, keyset):
        n = int.from_bytes(raw[:8], "little")
        self.raw, self.keyset, self.text = raw, keyset, raw[8:8 + n].decode()
        self.head = parse(self.text)
        meta = next((v for k, v in reversed(self.head) if k == "__metadata__"), None)
        self.meta = Obj(meta or [])
        self.last = dict(self.meta)

    def values(self):
        return [parse(self.last[k]) for k in judge.CRYPTO_KEYS[:3] if k in self.last]

    def tensors(self):
        """{name: (dtype, bytes, offsets)}"""
        out = {}
        for name, t in self.head:
            if name != "__metadata__":
                dtype, _, (a, b) = t if not isinstance(t, Obj) else (t.get("dtype"), t.get("shape"), t.get("data_offsets"))
                out[name] = dtype, b - a, (a, b)
        return out

    def keys(self):
        return parse(self.last["__crypto_keys__"])


def twice(obj, known=None):
    names = [k for k, _ in obj if known is None or k in known]
    return len(set(names)) < len(names)


def depth(v):
    inner = [x for _, x in v] if isinstance(v, Obj) else v if isinstance(v, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def name_twice(f):
    return twice(f.head) or twice(f.meta)


def member_twice(f):
    """Of the members that mean something."""
    keys, enc, policy = f.values()
    inner = [keys.get(k) for k in ("enc", "sign")]
    entries = [e for _, e in enc if isinstance(e, Obj)]
    return (twice(keys, ("enc", "sign", "version", "chunk_size")) or any(twice(k, ("alg", "kty", "kid", "jku")) for k in inner) or
            twice(enc) or any(twice(e, ENTRY) for e in entries) or isinstance(policy, Obj) and twice(policy, ("local", "remote")))


def not_all_four(f):
    return 0 < sum(k in f.last for k in judge.CRYPTO_KEYS) < 4


def key_material(f):
    return any(k in "kxd" for part in ("enc", "sign") for k, _ in f.keys().get(part))


def lengths(f):
    """An IV or tags of another length than the tensor needs, also where nobody would look."""
    keys, tensors = dict(f.keys()), f.tensors()
    size = keys.get("chunk_size", 2 << 20 if keys["version"] == "2" else None)
    for name, e in parse(f.last["__encryption__"]):
        e = dict(e) if isinstance(e, Obj) else dict(zip(ENTRY, e))
        used = ("base_iv", "tags") if size else ("iv", "tag")
        iv, tags = (None if e.get(k) is None else len(base64.b64decode(e[k])) for k in used)
        want = [(12, 16), (0, 0)]
        if name in tensors:
            n = tensors[name][1]
            want = [(12, 16 * max(1, -(-n // size)))] if size else [(12, 16)] if n else [(0, 0)]
        elif size:
            want = [(12, 16 * k) for k in range(1000)]
        if (iv, tags) not in want:
            return True
    return False


def policy_nul(f):
    p = dict(parse(f.last["__policy__"]))
    return "\0" in p["local"] + p["remote"]


def other_policy(f):
    p = parse(f.last["__policy__"])
    return (p.get("local") if isinstance(p, Obj) else p[0]).strip(" \t\r\n") != judge.DEFAULT_POLICY


def fnuz(f):
    return any(t[0] in ("F8_E4M3FNUZ", "F8_E5M2FNUZ") for t in f.tensors().values())


def deep(f):
    keys, enc, policy = f.values()
    return max(depth(f.head), depth(keys), depth(enc), depth(policy) + 1) > 65


def huge_number(f):
    return any(abs(float(x)) == float("inf") for x in re.findall(r"-?\d[\d.]*(?:[eE][+-]?\d+)?", f.text))


def other_alg(f):
    enc = dict(f.keys().get("enc"))
    key = [k for k in f.keyset["keys"] if k["kty"] == "oct" and enc.get("kid") in (None, k.get("kid"))][0]
    return judge.spelled(enc["alg"]) != key["alg"]


def null_metadata(f):
    return ["__metadata__", None] in f.head


def digest_fault(f):
    """What is wrong with __digests__: "malformed", "wrong" (some digest is), or None."""
    text, tensors = f.last.get("__digests__"), f.tensors()
    if text is None:
        return None
    try:
        v = parse(text)
        d = dict(v)
        size, listed = d["chunk_size"], dict(d["tensors"])
        good = set(d) == {"alg", "chunk_size", "tensors"} and len(v) == 3 and d["alg"] == "sha256" and type(size) is int
        good = good and 1 <= size <= 4194304 and isinstance(d["tensors"], Obj)
        good = good and not twice(d["tensors"]) and set(listed) <= set(tensors)
        digests = {name: base64.b64decode(x, validate=True) for name, x in listed.items()}
        good = good and all(base64.b64encode(digests[name]).decode() == x for name, x in listed.items())
    except NO_HEADER:
        return "malformed"
    if not good:
        return "malformed"
    keys, enc = dict(f.keys()), dict(parse(f.last["__encryption__"]))
    chunk = keys.get("chunk_size", 2 << 20 if keys["version"] == "2" else None)
    at, wrong = 8 + int.from_bytes(f.raw[:8], "little"), False
    for name, (_, n, (a, b)) in tensors.items():
        if name not in digests:
            good = good and name in enc
            continue
        step = (size if name not in enc else chunk) or n or 1
        pieces = [f.raw[at + i:at + min(i + step, b)] for i in range(a, b, step)]
        good = good and len(digests[name]) == 32 * len(pieces)
        wrong = wrong or digests[name] != b"".join(hashlib.sha256(x).digest() for x in pieces)
    return "malformed" if not good else "wrong" if wrong else None


def longer(f):
    n, _, meta, tensors = judge.split(f.raw)
    try:
        judge.view_header(n, meta, tensors)
    except AssertionError:
        return True
    return False


def tie(f):
    empty = [t[2] for t in f.tensors().values() if t[1] == 0]
    return len(set(empty)) < len(empty)


# number → our verdict, what our error says, what the file must be. 9 is not of this kind: see differential.py.
RULES = {
    1: ("EBADMSG", r"^header: (tensor|metadata key) .* is there twice$|^header: __metadata__: there twice$", name_twice),
    2: ("EBADMSG", r"^header: __\w+__: (.*: )?(a member is )?there twice$", member_twice),
    3: ("EBADMSG", r"^header: __\w+__ is missing beside the other crypto keys: not whole, or tampered with$", not_all_four),
    4: ("EBADMSG", r"^header: __crypto_keys__: key material in the header$", key_material),
    6: ("EBADMSG", r"^header: __encryption__: .*: (base_iv or tags are not base64 of 12 and of n times 16 bytes|"
                   r"iv or tag are not base64 of 12 and of 16 bytes|an IV or a tag of another length|"
                   r"not exactly 16 bytes of tags per chunk)$", lengths),
    7: ("EBADMSG", r"^header: __policy__: a NUL in a policy$", policy_nul),
    8: ("EKEYREJECTED", r"^its policy is not the default one, and with --keys nobody judges it", other_policy),
    10: ("ok", "", fnuz),
    11: ("EBADMSG", r"^(header: __\w+__: )?malformed JSON at byte \d+: nested too deeply$", deep),
    13: ("ok", "", huge_number),
    14: ("EBADMSG", r"^the data keys do not unwrap: the file is for \w+, the master key.* is not$|"
                    r"^header: __encryption__: .*: wrapped_key is not base64 of a data key of the algorithm's length$",
         other_alg),
    15: ("EBADMSG", r"^header: __metadata__: not an object$", null_metadata),
    16: ("EBADMSG", r"^the decrypted header has \d+ bytes, more than the \d+ of the file's own$", longer),
    26: ("EBADMSG", r"^header: __digests__: ", lambda f: digest_fault(f) == "malformed"),
    27: ("EIO", r"^chunks are damaged: ", lambda f: digest_fault(f) == "wrong"),
}
TIE = 9


def reached(allowed, raw, keyset):
    """The numbers among the allowed that the file is a case of."""
    out = []
    for n in sorted(allowed & set(RULES)):
        try:
            if RULES[n][2](Look(raw, keyset)):
                out.append(n)
        except NO_HEADER:
            continue
    return out


def find(numbers, verdict, message):
    """The one of the numbers that explains our verdict where theirs is the opposite, or None."""
    return next((n for n in numbers if RULES[n][0] == verdict and re.search(RULES[n][1], message, re.S)), None)


def has_tie(raw):
    try:
        return tie(Look(raw, None))
    except NO_HEADER:
        return False


def signature_good(raw, keyset):
    """Whether the signature is right for what the reference reads in this header; None: not a header to have one."""
    try:
        f = Look(raw, keyset)
        kid = dict(f.keys().get("sign")).get("kid")
        key = [k for k in keyset["keys"] if k["kty"] == "okp" and kid in (None, k.get("kid"))][0]
        good = judge.ed25519_sign(base64.b64decode(key["d"]), signed_bytes(f.text))
        return base64.b64encode(good).decode() == f.last["__signature__"]
    except NO_HEADER:
        return None
