"""Mutations of __digests__, which the reference keeps and does not look at."""
import base64

from .tree import NUMBERS, Obj, Raw, copy, dump, kind, nested, respelled_base64, spread

# Each function takes a Mutator and returns the header's text, or None where the file has nothing to mutate.


def digests(m):
    return m.value("__digests__") if any(k == "__digests__" for k, _ in m.meta()) else None


def mutation(function):
    """function(m, v) changes v, the value, or returns the text in its place."""
    def all_of_it(m):
        v = digests(m)
        if v is None:
            return None
        text = function(m, v)
        m.set_value("__digests__", v if text is None else text)
        return dump(m.head)
    all_of_it.__name__ = function.__name__
    kind(26, 27)(all_of_it)
    return all_of_it


@mutation
def digests_spelled(m, v):
    m.rng.shuffle(v)
    m.rng.shuffle(v.get("tensors"))
    return spread(m, dump(v), [" ", "\t", "\n", "\r"])


@mutation
def digests_member(m, v):
    """Missing, unknown, there twice."""
    i = m.rng.randrange(3)
    how = m.rng.randrange(4)
    if how == 0:
        del v[i]
    elif how == 1:
        v.insert(i, copy(v[i]))
    elif how == 2:
        v.insert(i, ["extra", m.rng.choice([None, 1, "x", Obj()])])
    else:
        v[i][0] = m.rng.choice(["", v[i][0].upper(), v[i][0] + "\0"])


@mutation
def digests_type(m, v):
    m.rng.choice(v)[1] = m.rng.choice([None, 1, True, [], Obj(), "x", Raw("1.5"), ["sha256"], [["w", ""]]])


@mutation
def digests_alg(m, v):
    v.put("alg", m.rng.choice(["SHA256", "sha-256", "sha512", "", "sha256 ", "md5", "sha256\0", Raw('"sha\\u00325\\u0036"')]))


@mutation
def digests_chunk_size(m, v):
    v.put("chunk_size", Raw(m.rng.choice(NUMBERS + ["4194304", "4194305", "32", "7", "4096.0", "2097152"])))


@mutation
def digests_name(m, v):
    """A name missing, absent, there twice."""
    t = v.get("tensors")
    i = m.rng.randrange(len(t))
    how = m.rng.randrange(4)
    if how == 0:
        del t[i]
    elif how == 1:
        t.insert(m.rng.randrange(len(t) + 1), copy(t[i]))
    elif how == 2:
        t.append(["absent", m.rng.choice(["", t[i][1]])])
    else:
        t[i][0] = m.rng.choice(["", "absent", t[i][0] + " "])


@mutation
def digests_value(m, v):
    e = m.rng.choice(v.get("tensors"))
    e[1] = m.rng.choice([None, 1, True, [], Obj(), [e[1]], "x", ""])


@mutation
def digests_base64(m, v):
    e = m.rng.choice(v.get("tensors"))
    e[1] = respelled_base64(m, e[1] or "AAAA")


@mutation
def digests_bytes(m, v):
    """Digests cut, added, changed, exchanged."""
    t = v.get("tensors")
    e, other = m.rng.choice(t), m.rng.choice(t)
    b = base64.b64decode(e[1])
    changed = [b[:-1], b + bytes(32), b[:-32], b"", b + b, b[::-1], b[32:] + b[:32], bytes(len(b)), base64.b64decode(other[1])]
    b = m.rng.choice(changed)
    e[1] = base64.b64encode(b).decode()


@mutation
def digests_bit(m, v):
    e = m.rng.choice(v.get("tensors"))
    b = bytearray(base64.b64decode(e[1]))
    if b:
        b[m.rng.randrange(len(b))] ^= 1 << m.rng.randrange(8)
    e[1] = base64.b64encode(b).decode()


@mutation
def digests_text(m, v):
    text = dump(v)
    return m.rng.choice(["", "{}", "null", "[]", text + "x", text[:-1], "[" + text + "]", text + "\0", "\ufeff" + text,
                         text + text, " " + text, text.replace(",", ",,", 1)])


@mutation
def digests_depth(m, v):
    v.get("tensors").append(["deep", nested(m.rng.choice([1, 60, 63, 64, 65, 200]), m.rng.choice("ao"))])


@kind()
def digests_renamed(m):
    """Without digests under that name, the file is one without digests."""
    if digests(m) is None:
        return None
    m.meta()[m.meta().at("__digests__")][0] = m.rng.choice(["__digest__", "digests", "__digests__ "])
    return dump(m.head)
