"""Mutations of the header's JSON: spelling, structure, tensors, the signature, any byte."""
import base64
import struct

from .tree import ANY, MARK, NUMBERS, Obj, Raw, VALUES, copy, dump, escaped_string, kind, nested, respelled_base64, spread
import judge


# Each function takes a Mutator and returns the header's text (str or bytes), or None where the file has nothing to mutate.

# ---- the spelling of the outer JSON ----

@kind()
def nothing(m):
    return m.base.text


@kind()
def white_space(m):
    return m.rng.choice(["", " ", "\n"]) + spread(m, m.base.text, [" ", "\t", "\n", "\r", "  "])


@kind()
def bad_space(m):
    return spread(m, m.base.text, ["\f", "\v", "\0", "\u00a0", "\u2028", "\ufeff", "/**/", "//\n", "\x1f"])


@kind()
def escapes(m):
    """Other spellings of names, of metadata, of the members of tensors."""
    how = m.rng.choice([lambda u: f"\\u{u:04x}", lambda u: f"\\u{u:04X}"])
    for e in m.head:
        if m.rng.random() < 0.5:
            e[0] = escaped_string(m, e[0], how)
        if isinstance(e[1], Obj):
            for x in e[1]:
                if m.rng.random() < 0.5 and x[0] != "__signature__":
                    x[0] = escaped_string(m, x[0], how)
                    if isinstance(x[1], str):
                        x[1] = escaped_string(m, x[1], how)
    return dump(m.head)


@kind()
def bad_escapes(m):
    e = m.tensor()
    bad = m.rng.choice(["\\u12", "\\x41", "\\'", "\\ud800", "\\udc00", "\\ud800\\u0041", "\\udc00\\ud800", "\\uD83D",
                        "\\U00000041", "\\0", "\\",
                        "\\u 041", "\\u+041", "\\u00g0", "\n", "\t", "\0", "\x1f", "\\a", "\\v"])
    e[0] = Raw('"' + e[0].replace("\\", "").replace('"', "")[:10] + bad + '"')
    return dump(m.head)


@kind()
def short_escapes(m):
    e = m.tensor()
    e[0] = Raw('"x' + "".join(m.rng.sample(["\\/", "\\b", "\\f", "\\n", "\\r", "\\t", '\\"', "\\\\", "\\u0000", "\\u007f",
                                            "\\ud83d\\ude00", "\\uFFFF"], 5)) + '"')
    return dump(m.head)


@kind()
def bad_utf8(m):
    raw = bytearray(m.base.text.encode())
    at = m.base.text.encode().index(MARK.encode()) if m.rng.random() < 0.3 else 2
    raw[at:at] = m.rng.choice([b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82",
                               b"\xf8\x88\x80\x80\x80", b"\xfe"])
    return bytes(raw)


@kind()
def around(m):
    """Text before and after the object."""
    before, after = m.rng.choice([("\ufeff", ""), ("", "\0"), ("", "x"), ("", "{}"), ("", ","), ("", "}"), ("", "]"), ("",
            "\ufeff"), ("\0", ""), ("[", "]"),
                                  ("", " \0"), ("", "\n\t\r "), (" \n", ""), ("", '""'), ("", "null"), ("", "\f"), ("\u00a0",
                                          ""), ("/**/", ""), ("x", "")])
    return before + m.base.text + after


@kind(*ANY)
def syntax(m):
    """One piece of punctuation dropped, doubled or changed, anywhere."""
    text = m.base.text
    at = m.rng.choice([i for i, c in enumerate(text) if c in '{}[]:,"'])
    return text[:at] + m.rng.choice(["", text[at] * 2, m.rng.choice('{}[]:,"; '), " " + text[at]]) + text[at + 1:]


@kind()
def literals(m):
    e = m.tensor()
    e[1].append(["extra", Raw(m.rng.choice(["True", "nul", "nulll", "NaN", "Infinity", "-Infinity", "'x'", "undefined", "01",
                                            "1.", ".5", "-", "1e", "1e+",
                                            "+1", "0x10", "1_000", "-01", "1.e3", "--1", "", "tru", "\u0661", "1 2", "True,"]))])
    return dump(m.head)


@kind(13)
def extras(m):
    """Unknown members of tensors, of every type."""
    e = m.tensor()
    e[1].insert(m.rng.randrange(len(e[1]) + 1), ["extra", Raw(m.rng.choice(
        ["null", "true", "false", "0", "-1", "-0", "1.5", "1e3", "1E-2", "18446744073709551616", "1" * 60, "0.0", '"x"', "[]",
         "{}", "[[],{}]",
         '{"a":{"a":1,"a":2}}', "-0.0", "1e400", "-1e-400", "9" * 400, '"\\ud83d\\ude00"', '{"":""}']))])
    return dump(m.head)


@kind()
def extras_bad(m):
    e = m.tensor()
    e[1].insert(m.rng.randrange(len(e[1]) + 1), ["extra", Raw(m.rng.choice(['"\\ud800"', '"\t"', "[1,]", "{,}", '{"a"}',
                                                                            "{1:2}", "[1 2]", '"\\x"', '{"a":1,}', "[,]",
                                                                            '[}']))])
    return dump(m.head)


@kind(11)
def depth(m):
    e = m.tensor()
    n = m.rng.choice([1, 10, 60, 61, 62, 63, 64, 65, 66, 70, 100, 120, 123, 124, 125, 126, 127, 128, 129, 130, 200, 1000])
    e[1].append(["extra", nested(n, m.rng.choice("ao"))])
    return dump(m.head)


@kind()
def member_order(m):
    m.rng.shuffle(m.head)
    for _, v in m.head:
        m.rng.shuffle(v)
    return dump(m.head)


@kind()
def as_array(m):
    for i in m.tensors():
        if m.rng.random() < 0.6:
            t = m.head[i][1]
            m.head[i][1] = [t.get("dtype"), t.get("shape"), t.get("data_offsets")]
    return dump(m.head)


@kind()
def as_bad_array(m):
    e = m.tensor()
    parts = [e[1].get("dtype"), e[1].get("shape"), e[1].get("data_offsets")]
    e[1] = m.rng.choice([parts[:2], parts + [1], parts[::-1], [parts], parts + [None], []])
    return dump(m.head)


@kind()
def dtype_as_object(m):
    e = m.tensor()
    d = e[1].get("dtype")
    e[1].put("dtype", m.rng.choice([Obj([[d, None]]), Obj([[d, None]]), Obj([[d, Obj()]]), Obj([[d, []]]), Obj([[d, 1]]), Obj(),
                                    Obj([[d, None], [d, None]]), [d],
                                    Obj([[d, None], ["x", None]]), Obj([["x", None]]), Obj([[d, Raw("null ")]]),
                                    Obj([[Raw('"\\u%04x%s"' % (ord(d[0]), d[1:])), None]])]))
    return dump(m.head)


# ---- the structure of the outer JSON ----

@kind(1)
def duplicate_tensor(m):
    i = m.rng.choice(m.tensors())
    if m.rng.random() < 0.3:  # of another tensor's content: the last of the two counts for the reference
        m.head.insert(0, [m.head[i][0], copy(m.head[m.rng.choice(m.tensors())][1])])
    else:
        m.head.insert(m.rng.randrange(len(m.head) + 1), copy(m.head[i]))
    i = m.rng.choice([k for k, e in enumerate(m.head) if e[0] == m.head[i][0]]) if i < len(m.head) else i
    if m.rng.random() < 0.5:
        m.head[i][0] = escaped_string(m, m.head[i][0], lambda u: f"\\u{u:04x}")
    return dump(m.head)


@kind(1)
def duplicate_metadata_key(m):
    meta = m.meta()
    i = m.rng.randrange(len(meta))
    meta.insert(i if m.rng.random() < 0.7 else m.rng.randrange(len(meta) + 1), [meta[i][0], m.rng.choice([meta[i][1], "", "{}"])])
    return dump(m.head)


@kind(1)
def duplicate_metadata(m):
    """A second __metadata__."""
    meta = copy(m.meta())
    m.head.insert(m.rng.randrange(len(m.head) + 1), ["__metadata__", m.rng.choice([meta, Obj(), Obj([["a", "b"]]), None])])
    return dump(m.head)


@kind()
def duplicate_field(m):
    e = m.tensor()
    e[1].insert(m.rng.randrange(len(e[1]) + 1), copy(m.rng.choice(e[1])))
    return dump(m.head)


@kind(1)
def duplicate_unknown(m):
    e = m.tensor()
    e[1].extend([["extra", 1], ["extra", 2]])
    return dump(m.head)


@kind()
def field_missing(m):
    e = m.tensor()
    del e[1][m.rng.randrange(3)]
    return dump(m.head)


@kind()
def field_renamed(m):
    e = m.tensor()
    f = m.rng.choice(e[1])
    f[0] = m.rng.choice([f[0].upper(), f[0] + " ", f[0] + "\0", "", f[0][:-1]])
    return dump(m.head)


@kind()
def field_type(m):
    e = m.tensor()
    f = m.rng.choice(e[1])
    f[1] = m.rng.choice([None, True, 0, "x", [], Obj(), [None], ["0"], [Obj()], -1, Raw("1.5"), [[]], str(f[1]), [f[1]]])
    return dump(m.head)


@kind(15)
def metadata_type(m):
    m.head.put("__metadata__", m.rng.choice([None, [], "x", 1, [m.meta()], True, [["a", "b"]]]))
    return dump(m.head)


@kind()
def metadata_value_type(m):
    m.rng.choice(m.meta())[1] = m.rng.choice([None, 1, True, [], Obj(), ["x"], Obj([["a", "b"]])])
    return dump(m.head)


@kind()
def metadata_value_extra(m):
    m.meta().append(["extra", m.rng.choice([None, 1, True, [], Obj(), "fine", Raw("1.5")])])
    return dump(m.head)


@kind(1)
def metadata_renamed(m):
    """A member of the metadata under another name: the four are found by their exact names."""
    e = m.rng.choice([x for x in m.meta() if x[0] not in VALUES + ("__signature__",)] or [["", ""]])
    e[0] = m.rng.choice(["__Encryption__", "__encryption_", "_encryption__", "__encryption__ ", "\0", "", "__x__", "a" * 3000])
    return dump(m.head)


@kind(3)
def one_of_four_missing(m):
    meta = m.meta()
    for k in m.rng.sample(list(judge.CRYPTO_KEYS), m.rng.choice([1, 1, 1, 2, 3, 4])):
        del meta[meta.at(k)]
    return dump(m.head)


@kind(3)
def one_of_four_renamed(m):
    k = m.rng.choice(judge.CRYPTO_KEYS)
    m.meta()[m.meta().at(k)][0] = m.rng.choice([k.upper(), k[1:], k + "\0", k + " ", "_" + k])
    return dump(m.head)


@kind()
def one_of_four_empty(m):
    m.meta().put(m.rng.choice(judge.CRYPTO_KEYS), m.rng.choice(["", " ", "{}", "null", "[]", "{", "\0", "1", '""', "true"]))
    return dump(m.head)


@kind()
def no_metadata(m):
    del m.head[m.head.at("__metadata__")]
    return dump(m.head)


@kind(10)
def dtype(m):
    e = m.tensor()
    d = e[1].get("dtype")
    e[1].put("dtype", m.rng.choice([d.lower(), d + " ", "", "F8", "F128", "f32", "U1", "I4", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
                                    "F8_E4M3", "U8", "BOOL", "I8",
                                    "F8_E8M0", "F8_E5M2", d, "C128", "F6", "Q4", "F8_E4M3FN", "C64", "F4", "F6_E2M3", "F6_E3M2"]))
    return dump(m.head)


@kind(10)
def dtype_of_one_byte(m):
    """Another dtype of eight bits: what is read is the same bytes."""
    e = m.tensor()
    a, b = e[1].get("data_offsets")
    e[1].put("dtype", m.rng.choice(["F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E4M3", "U8", "BOOL", "I8", "F8_E8M0", "F8_E5M2"]))
    e[1].put("shape", [b - a])
    return dump(m.head)


@kind()
def bits_left_over(m):
    """Elements of four or six bits that fill the bytes, and almost one more."""
    e = m.tensor()
    a, b = e[1].get("data_offsets")
    bits, d = m.rng.choice([(4, "F4"), (6, "F6_E2M3"), (6, "F6_E3M2")])
    n = 8 * (b - a) // bits
    e[1].put("dtype", d)
    e[1].put("shape", [m.rng.choice([n, n, n + 1, n - 1])])
    return dump(m.head)


@kind()
def shape_number(m):
    """A dimension in another spelling, or another one."""
    i = m.rng.choice(m.tensors())
    shape = m.head[i][1].get("shape")
    at = m.rng.randrange(len(shape) + 1)
    shape[at:at + m.rng.randrange(2)] = [Raw(m.rng.choice(NUMBERS))]
    return dump(m.head)


@kind()
def shape_spelled(m):
    """The right dimension in another spelling."""
    e = m.tensor()
    shape = e[1].get("shape") or [1]
    at = m.rng.randrange(len(shape))
    shape[at] = Raw(m.rng.choice(["{}.0", "{}e0", "0{}", "+{}", "{}.", "-{}", "{}E0", '"{}"', "{}0e-1",
                                  " {} "]).format(shape[at]))
    e[1].put("shape", shape)
    return dump(m.head)


@kind()
def shape_same_product(m):
    e = m.tensor()
    shape = e[1].get("shape")
    for _ in range(m.rng.choice([0, 1, 2, 20, 400])):
        shape.insert(m.rng.randrange(len(shape) + 1), 1)
    m.rng.shuffle(shape)
    return dump(m.head)


@kind()
def shape_overflow(m):
    """Products at the edges of 64 bits, with and without a zero that saves them."""
    i = m.rng.choice(m.tensors())
    t = m.head[i][1]
    big = m.rng.choice([[2 ** 32, 2 ** 32], [2 ** 63, 2], [2 ** 61, 8], [2 ** 64 - 1], [2 ** 62, 4], [2 ** 61, 2], [2 ** 60,
            2 ** 60, 16]])
    zero = m.rng.choice([[], [0], [0]])
    t.put("shape", m.rng.choice([big + zero, zero + big, big[:1] + zero + big[1:]]))
    return dump(m.head)


@kind()
def offset_number(m):
    t = m.tensor()[1]
    t.get("data_offsets")[m.rng.randrange(2)] = Raw(m.rng.choice(NUMBERS))
    return dump(m.head)


@kind()
def offset_spelled(m):
    o = m.tensor()[1].get("data_offsets")
    at = m.rng.randrange(2)
    o[at] = Raw(m.rng.choice(["{}.0", "{}e0", "0{}", "+{}", "{}.", "-{}", "{}E0", '"{}"', "{}0e-1", " {} "]).format(o[at]))
    return dump(m.head)


@kind()
def offset_list(m):
    t = m.tensor()[1]
    a, b = t.get("data_offsets")
    t.put("data_offsets", m.rng.choice([[a], [a, b, b], [b, a], [], [[a, b]], Obj([["0", a], ["1", b]]), [a, b, None],
                                        Obj([["start", a], ["end", b]])]))
    return dump(m.head)


@kind()
def offset_moved(m):
    """Gaps, overlaps, a wrong end; shapes that follow, or do not."""
    i = m.rng.choice(m.tensors())
    o = m.head[i][1].get("data_offsets")
    at = m.rng.randrange(2)
    o[at] = max(0, o[at] + m.rng.choice([-8, -1, 1, 8, 1000, 2 ** 40]))
    if m.rng.random() < 0.5:
        m.head[i][1].put("dtype", "U8")
        m.head[i][1].put("shape", [max(0, o[1] - o[0])])
    return dump(m.head)


@kind(9)
def offsets_exchanged(m):
    """Two tensors exchange places."""
    if len(m.tensors()) < 2:
        return None
    i, k = m.rng.sample(m.tensors(), 2)
    x, y = m.head[i][1], m.head[k][1]
    for f in ("shape", "data_offsets", "dtype"):
        p, q = x.get(f), y.get(f)
        x.put(f, q)
        y.put(f, p)
    return dump(m.head)


@kind()
def tensor_removed(m):
    del m.head[m.rng.choice(m.tensors())]
    return dump(m.head)


@kind(9)
def empty_tensor_added(m):
    """A plain empty tensor, at any place."""
    end = m.rng.choice([o for i in m.tensors() for o in m.head[i][1].get("data_offsets")] + [7])
    m.head.insert(m.rng.randrange(len(m.head) + 1), ["new", Obj([["dtype", "U8"], ["shape", [0]], ["data_offsets", [end, end]]])])
    return dump(m.head)


@kind(9, 26)
def tensor_renamed_beside_digests(m):
    """The digests are then of an absent tensor, and a plain tensor has none."""
    return tensor_renamed(m)


@kind(9, 26)
def empty_tensor_beside_digests(m):
    return empty_tensor_added(m)


@kind(*ANY, 26, 27)
def byte_set_beside_digests(m):
    return byte_set(m)


@kind(9)
def tensor_renamed(m):
    """The entry in __encryption__ is then one of an absent tensor, and the tensor plain ciphertext."""
    m.head[m.rng.choice(m.tensors())][0] = "another name"
    return dump(m.head)


# ---- __signature__, and any byte ----

@kind()
def signature(m):
    s = m.base.old
    m.meta().put("__signature__", m.rng.choice([respelled_base64(m, s), respelled_base64(m, s), "",
                                                base64.b64encode(bytes(64)).decode(), s[:-4], s + "AAAA", s.lower(),
                                                s[10:] + s[:10]]))
    return dump(m.head)


@kind()
def signature_respelled(m):
    """A good one, in another spelling of base64."""
    return m.base.text.replace(MARK, m.rng.choice([MARK + "\\n", " " + MARK, MARK + "=", MARK[:0] + MARK + "\\u0000",
                                                   MARK + "AAAA"]))


def any_byte(m, change):
    raw = bytearray(m.base.text.encode())
    mark = raw.index(MARK.encode())
    for _ in range(m.rng.choice([1, 1, 1, 2, 5])):
        at = m.rng.choice([m.rng.randrange(1, mark), m.rng.randrange(mark + len(MARK), len(raw))])
        change(raw, at)
    return bytes(raw) if raw.count(MARK.encode()) == 1 else None


@kind(16)
def longer_than_canonical(m):
    """Many plain tensors in the short form: what an application would have to see does not fit in N bytes."""
    at, n = len(m.base.data), m.rng.choice([1, 5, 40, 60, 100, 200])
    m.data += bytes(n)
    for i in range(n):
        m.head.append([f"x{i}", ["U8", [1], [at + i, at + i + 1]]])
    return dump(m.head)


@kind(*ANY)
def byte_flip(m):
    def change(raw, at):
        raw[at] ^= 1 << m.rng.randrange(8)
    return any_byte(m, change)


@kind(*ANY)
def byte_set(m):
    def change(raw, at):
        raw[at] = m.rng.choice(b'{}[]:,"\\0159 =aA\t\n\0\x7f\xff/+-eE.')
    return any_byte(m, change)


@kind(*ANY)
def bytes_inserted(m):
    def change(raw, at):
        raw[at:at] = m.rng.choice([m.rng.randbytes(1), b" ", b"0", b"\\", b'"', b",", b"\0", bytes(raw[at - 1:at]),
                                   bytes(raw[max(0, at - 20):at])])
    return any_byte(m, change)


@kind(*ANY)
def bytes_deleted(m):
    def change(raw, at):
        del raw[at:at + m.rng.choice([1, 1, 2, 10])]
    return any_byte(m, change)


@kind()
def padding(m):
    """None, much, other white space."""
    return m.base.text + m.rng.choice(["", " ", " " * 7, "\n" * 20, " " * 5000, "\t\r\n "])
