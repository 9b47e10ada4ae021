"""What mutations are made with: JSON whose spelling can be chosen, signing anew, the valid files, the table of kinds."""
import base64
import json
import struct

import judge

MARK = "c2lnbmF0dXJl" * 7 + "AA=="  # stands where the signature will be: base64 of 64 bytes
VALUES = ("__crypto_keys__", "__encryption__", "__policy__")


# ---- JSON whose spelling can be chosen ----

class Raw(str):
    """Text of a value as it stands."""


class Obj(list):
    """An object: [[key, value]], duplicates and all."""

    def at(self, key):
        return next(i for i, (k, _) in enumerate(self) if k == key)

    def get(self, key):
        return self[self.at(key)][1]

    def put(self, key, value):
        self[self.at(key)][1] = value


def parse(text):
    return json.loads(text, object_pairs_hook=lambda pairs: Obj([k, v] for k, v in pairs))


def dump(v):
    if isinstance(v, Raw):
        return str(v)
    if isinstance(v, Obj):
        return "{" + ",".join(f"{dump(k)}:{dump(x)}" for k, x in v) + "}"
    if isinstance(v, list):
        return "[" + ",".join(map(dump, v)) + "]"
    return json.dumps(v, ensure_ascii=False)


def copy(v):
    if isinstance(v, Obj):
        return Obj([k, copy(x)] for k, x in v)
    return [copy(x) for x in v] if isinstance(v, list) else v


# ---- signing anew ----

def signed_bytes(text):
    """What the reference would sign if it read this header: the last of duplicates wins, ties keep their order."""
    head = json.loads(text)
    meta = head.pop("__metadata__", None)
    parts, tensors = [], []
    if meta is not None:
        parts.append('"__metadata__":' + dump(Obj([k, meta[k]] for k in sorted(meta, key=str.encode) if k != "__signature__")))
    for name, t in head.items():
        dtype, shape, offsets = t if isinstance(t, list) else (t["dtype"], t["shape"], t["data_offsets"])
        tensors.append((offsets, name, list(dtype)[0] if isinstance(dtype, dict) else dtype, shape))
    for offsets, name, dtype, shape in sorted(tensors, key=lambda t: t[0]):
        parts.append(dump(name) + ":" + dump(Obj([["dtype", dtype], ["shape", shape], ["data_offsets", offsets]])))
    return ("{" + ",".join(parts) + "}").encode()


def signed(text, base):
    """The header's bytes with a signature in place of MARK."""
    try:
        message = signed_bytes(text if isinstance(text, str) else text.decode())
    except Exception:  # no JSON, or not a header: any signature will do
        message = signed_bytes(base.text)
    signature = base64.b64encode(judge.ed25519_sign(base.d, message))
    return (text.encode() if isinstance(text, str) else text).replace(MARK.encode(), signature)


# ---- the valid files ----

class Base:
    def __init__(self, name, raw, alg, kek, signer):
        """kek, signer: JWKs."""
        n = struct.unpack("<Q", raw[:8])[0]
        self.name, self.raw, self.alg, self.data = name, raw, alg, raw[8 + n:]
        text = raw[8:8 + n].decode()
        meta = json.loads(text)["__metadata__"]
        self.old = meta["__signature__"]
        self.text = text.rstrip().replace(self.old, MARK)
        self.kek, self.d = base64.b64decode(kek["k"]), base64.b64decode(signer["d"])
        self.has_digests = "__digests__" in meta
        assert dump(parse(self.text)) == self.text, f"{name}: not canonical"

    def tree(self):
        return parse(self.text)


class Mutator:
    """Common ways to the parts of a header; one object a mutant."""

    def __init__(self, base, rng):
        self.base, self.rng, self.data = base, rng, base.data
        self.head = base.tree()

    def meta(self):
        return self.head.get("__metadata__")

    def tensors(self):
        return [i for i, (k, _) in enumerate(self.head) if k != "__metadata__"]

    def has_bytes(self, i):
        a, b = self.head[i][1].get("data_offsets")
        return a < b

    def tensor(self):
        """[name, Obj] of one with bytes in it."""
        return self.head[self.rng.choice([i for i in self.tensors() if self.has_bytes(i)])]

    def value(self, key):
        return parse(self.meta().get(key))

    def set_value(self, key, tree):
        self.meta().put(key, tree if isinstance(tree, str) and not isinstance(tree, Raw) else dump(tree))

    def chunked(self):
        keys = self.value("__crypto_keys__")
        return any(k == "chunk_size" for k, _ in keys)

    def entry(self, enc):
        """[name, Obj] of an entry whose tensor has bytes, if there is one."""
        with_bytes = {self.head[i][0] for i in self.tensors() if self.has_bytes(i)}
        fit = [e for e in enc if e[0] in with_bytes]
        return self.rng.choice(fit or enc)


# ---- kinds of mutations ----

ANY = 1, 2, 3, 4, 6, 8, 9, 10, 14  # what a change at any place may touch
KINDS = {}  # name → (function, numbers)


def kind(*numbers):
    def add(f):
        KINDS[f.__name__] = f, set(numbers)
        return f
    return add


# ---- what several of them do ----

def spread(m, text, space):
    """White space after some of the punctuation outside strings."""
    out, inside, escaped = [], False, False
    for c in text:
        out.append(c)
        if escaped:
            escaped = False
        elif inside and c == "\\":
            escaped = True
        elif c == '"':
            inside = not inside
        elif not inside and c in "{}[]:," and m.rng.random() < 0.3:
            out.append(m.rng.choice(space))
    return "".join(out)


def escaped_string(m, s, how):
    out = '"'
    for c in s:
        if m.rng.random() < 0.3 or c in '"\\' or c < " ":
            out += "".join(how(u) for u in struct.unpack(f">{len(c.encode('utf-16-be')) // 2}H", c.encode("utf-16-be")))
        else:
            out += c
    return Raw(out + '"')


def nested(depth, how):
    return Raw({"a": "[" * depth + "]" * depth, "o": '{"a":' * depth + "1" + "}" * depth}[how])


NUMBERS = ["-0", "-1", "00", "1.0", "1e0", "1E0", "0.0", "0e0", "18446744073709551615", "18446744073709551616",
           "9223372036854775808", "-9223372036854775809",
           "1e300", "99999999999999999999999", '"1"', "null", "true", "[]", "4294967296", "0x1", "+1", "01", "1.", "1e", "-00",
           "1e-0", "10e-1", "0"]


def respell(m, key):
    """Escapes inside one of the values."""
    def walk(v):
        if isinstance(v, Obj):
            return Obj([escaped_string(m, k, lambda u: f"\\u{u:04x}") if m.rng.random() < 0.5 else k, walk(x)] for k, x in v)
        if isinstance(v, list):
            return [walk(x) for x in v]
        return escaped_string(m, v, lambda u: f"\\u{u:04x}") if isinstance(v, str) and m.rng.random() < 0.5 else v
    m.set_value(key, walk(m.value(key)))
    return dump(m.head)


def respelled_base64(m, s):
    return m.rng.choice([s.rstrip("="), s + "=", s + "====", s + "\n", " " + s, s.replace("+", "-").replace("/", "_"),
                         s[:4] + "\n" + s[4:], s[:-1], s[1:], s + "A",
                         s[:-3] + chr(ord(s[-3]) + 1) + s[-2:] if s.endswith("==") else s, "=" + s, s[:5] + "=" + s[5:],
                         s + "AA==", s + "\0", s[:2] + "\u00e9" + s[2:], ""])
