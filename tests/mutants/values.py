"""Mutations of the four values in the metadata: __crypto_keys__, __policy__, __encryption__."""
import base64
import json

from .tree import NUMBERS, Obj, Raw, copy, dump, kind, nested, respell, respelled_base64, spread
import judge


# Each function takes a Mutator and returns the header's text (str or bytes), or None where the file has nothing to mutate.

# ---- __crypto_keys__ ----

@kind()
def keys_spelled(m):
    v = m.value("__crypto_keys__")
    m.rng.shuffle(v)
    for k in ("enc", "sign"):
        m.rng.shuffle(v.get(k))
        v.get(k).insert(m.rng.randrange(4), ["extra", m.rng.choice([None, 1, "x", [], Obj()])])
    v.insert(m.rng.randrange(4), ["extra", m.rng.choice([None, 1, "x", [], Obj()])])
    m.set_value("__crypto_keys__", m.rng.choice(["", " \n"]) + spread(m, dump(v), [" ", "\t", "\n", "\r"]) + m.rng.choice(["",
            " \n"]))
    return dump(m.head)


@kind()
def keys_escapes(m):
    return respell(m, "__crypto_keys__")


@kind(2, 4)
def keys_duplicate(m):
    v = m.value("__crypto_keys__")
    where = m.rng.choice([v, v.get("enc"), v.get("sign")])
    i = m.rng.randrange(len(where))
    where.insert(m.rng.choice([i, len(where)]), copy(where[i]))
    if m.rng.random() < 0.3:
        where[-1][1] = m.rng.choice([None, "x", Obj()])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind(2)
def keys_duplicate_unknown(m):
    v = m.value("__crypto_keys__")
    where = m.rng.choice([v, v.get("enc"), v.get("sign")])
    where.extend([["extra", 1], ["extra", 2]])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_missing(m):
    v = m.value("__crypto_keys__")
    where = m.rng.choice([v, v.get("enc"), v.get("sign")])
    del where[m.rng.randrange(len(where))]
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_type(m):
    v = m.value("__crypto_keys__")
    where = m.rng.choice([v, v.get("enc"), v.get("sign")])
    e = m.rng.choice(where)
    e[1] = m.rng.choice([None, 1, True, [], Obj(), "", [e[1]], "x", 2, Raw("1.5"), "oct", "okp", list(map(lambda x: x[1],
            e[1])) if isinstance(e[1], Obj) else 0])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_array(m):
    v = m.value("__crypto_keys__")
    k = m.rng.choice(["enc", "sign", None])
    if k:
        v.put(k, [x for _, x in v.get(k)])
        m.set_value("__crypto_keys__", v)
    else:
        m.set_value("__crypto_keys__", [x for _, x in v])
    return dump(m.head)


@kind(4)
def keys_material(m):
    v = m.value("__crypto_keys__")
    v.get(m.rng.choice(["enc", "sign"])).append([m.rng.choice("kxd"), m.rng.choice([base64.b64encode(bytes(32)).decode(), "",
                                                                                    None, base64.b64encode(m.base.kek).decode(),
                                                                                    1])])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_jku(m):
    v = m.value("__crypto_keys__")
    v.get(m.rng.choice(["enc", "sign"])).append(["jku", m.rng.choice(["file:///nonexistent", "https://192.0.2.1/x", "",
                                                                      "file://relative", None, 1, "\0", "x" * 5000])])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind(14)
def keys_kid(m):
    v = m.value("__crypto_keys__")
    k = v.get(m.rng.choice(["enc", "sign"]))
    k[:] = [e for e in k if e[0] != "kid"]
    if m.rng.random() < 0.8:
        k.insert(0, ["kid", m.rng.choice(["", "unknown", None, 1, "k\u00e9y/1", "k\u00e9y/1s", "ke\u0301y/1", "k\u00e9y/1\0",
                                          [], "K\u00c9Y/1", " "])])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind(14)
def keys_alg(m):
    v = m.value("__crypto_keys__")
    k = v.get(m.rng.choice(["enc", "enc", "sign"]))
    a = m.rng.choice([k.get("alg")] * 2 + ["aes128gcm", "aes256gcm", "chacha20poly1305"])
    k.put("alg", m.rng.choice([a.upper(), "-".join(a), a + "-", "--" + a, a.capitalize(), "", "A256GCM", "aes-256-gcm",
                               "AES-128-GCM", "ChaCha20-Poly1305", "EdDSA",
                               "Ed25519", "ed-25519", "none", a + " ", a.replace("a", "\u0430"), a + "\0", "aes_256_gcm",
                               "xchacha20poly1305", "\u212aes256gcm", "aes192gcm"]))
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_kty(m):
    v = m.value("__crypto_keys__")
    v.get(m.rng.choice(["enc", "sign"])).put("kty", m.rng.choice(["OCT", "OKP", "oct", "okp", "", "rsa", None, "oct ", "Oct",
                                                                  "Okp"]))
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_version(m):
    v = m.value("__crypto_keys__")
    v.put("version", m.rng.choice(["1", "2", "3", "0", "", 1, 2, None, "1.0", "01", "2 ", "v2", "\u00b2", Raw('"\\u0032"'),
                                   Raw('"\\u0031"'), ["2"]]))
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind(6)
def keys_chunk_size(m):
    v = m.value("__crypto_keys__")
    v[:] = [e for e in v if e[0] != "chunk_size"]
    if m.rng.random() < 0.9:
        v.insert(0, ["chunk_size", Raw(m.rng.choice(NUMBERS + ["16", "17", "15", "16.0", "1.6e1", "016", '"16"', "4096",
                                                               "2097152", "9223372036854775807", "1048576"]))])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


@kind()
def keys_text(m):
    """Not JSON, or more than it."""
    text = m.meta().get("__crypto_keys__")
    m.set_value("__crypto_keys__", m.rng.choice(["\ufeff" + text, text + "\0", text + "x", text[:-1], text + "}",
                                                 "[" + text + "]", text + text, text.replace(":", "=", 1),
                                                 text.replace('"', "'"), text[:-1] + ",}", text.replace(",", ",,", 1),
                                                 json.dumps(text), text + "//", " " + text]))
    return dump(m.head)


@kind(11)
def keys_depth(m):
    v = m.value("__crypto_keys__")
    n = m.rng.choice([1, 60, 63, 64, 65, 66, 120, 124, 125, 126, 127, 128, 129, 200])
    m.rng.choice([v, v.get("enc")]).append(["extra", nested(n, m.rng.choice("ao"))])
    m.set_value("__crypto_keys__", v)
    return dump(m.head)


# ---- __policy__ ----

@kind()
def policy_spelled(m):
    v = m.value("__policy__")
    m.rng.shuffle(v)
    v.insert(m.rng.randrange(3), ["extra", m.rng.choice([None, 1, "x", [], Obj()])])
    m.set_value("__policy__", spread(m, dump(v), [" ", "\t", "\n", "\r"]))
    return dump(m.head)


@kind()
def policy_escapes(m):
    return respell(m, "__policy__")


@kind(2)
def policy_duplicate(m):
    v = m.value("__policy__")
    v.insert(m.rng.randrange(3), m.rng.choice([copy(v[0]), copy(v[1]), ["local", ""]]))
    m.set_value("__policy__", v)
    return dump(m.head)


@kind(2)
def policy_duplicate_unknown(m):
    v = m.value("__policy__")
    v.extend([["extra", 1], ["extra", 2]])
    m.set_value("__policy__", v)
    return dump(m.head)


@kind(8)
def policy_type(m):
    v = m.value("__policy__")
    e = m.rng.choice(v)
    e[1] = m.rng.choice([None, 1, True, [], Obj(), [e[1]], "", "x"]) if m.rng.random() < 0.7 else e[1]
    if m.rng.random() < 0.3:
        v.remove(e)
    m.set_value("__policy__", v)
    return dump(m.head)


@kind(8)
def policy_array(m):
    parts = [x for _, x in m.value("__policy__")]
    m.set_value("__policy__", m.rng.choice([parts, parts[::-1], parts[:1], parts + [""], [parts], parts + [None],
                                            [None] + parts, []]))
    return dump(m.head)


@kind(8, 7)
def policy_text(m):
    v = m.value("__policy__")
    v.put(m.rng.choice(["local", "local", "remote"]), m.rng.choice([
        "package model\nallow = true", " package model\nallow = true\n\n", "package model\r\nallow = true",
        "package model\nallow = false", "", "x", "package model",
        "package model\nallow = true\0", "package model\nallow = true\n# \0", "package model\nallow := true",
        "package model\ndefault allow = true", "\0",
        "package model\nallow = true\n# comment", "package other\nallow = true", "package model\n\nallow = true",
        "package model\nallow = 1 == 1", "package model\nallow=true"]))
    m.set_value("__policy__", v)
    return dump(m.head)


@kind()
def policy_json(m):
    text = m.meta().get("__policy__")
    m.set_value("__policy__", m.rng.choice(["\ufeff" + text, text + "\0", text + "x", text[:-1], text + "}", "[" + text + "]",
                                            text + text, text[:-1] + ",}", text + "," + text,
                                            text + ',"q":' + text, json.dumps(text), text + "//", " " + text + "\n",
                                            "{}," + text, text + "}" + text]))
    return dump(m.head)


@kind(11)
def policy_depth(m):
    v = m.value("__policy__")
    v.append(["extra", nested(m.rng.choice([1, 60, 62, 63, 64, 65, 66, 120, 125, 126, 127, 128, 129, 200]), m.rng.choice("ao"))])
    m.set_value("__policy__", v)
    return dump(m.head)


# ---- __encryption__ ----

@kind()
def enc_spelled(m):
    v = m.value("__encryption__")
    m.rng.shuffle(v)
    for _, e in v:
        m.rng.shuffle(e)
        e.insert(m.rng.randrange(5), ["extra", m.rng.choice([None, 1, "x", [], Obj()])])
    m.set_value("__encryption__", spread(m, dump(v), [" ", "\t", "\n", "\r"]))
    return dump(m.head)


@kind()
def enc_escapes(m):
    return respell(m, "__encryption__")


@kind()
def enc_array(m):
    v = m.value("__encryption__")
    for e in v:
        if m.rng.random() < 0.6:
            e[1] = [x for _, x in e[1]]
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_bad_array(m):
    v = m.value("__encryption__")
    e = m.rng.choice(v)
    parts = [x for _, x in e[1]]
    e[1] = m.rng.choice([parts[:4], parts + [""], parts[::-1], [parts], parts + [None], [], parts[:3] + [None] * 2,
                         parts + [parts[0]] * 2, parts[:3] + ["", ""] + parts[3:]])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(2)
def enc_duplicate_name(m):
    v = m.value("__encryption__")
    i = m.rng.randrange(len(v))
    other = copy(v[i])
    if m.rng.random() < 0.4:  # one that does not unwrap: the last of the two counts for the reference
        other[1].put("key_iv", "AAAAAAAAAAAAAAAA")
        v.insert(i, other)
    else:
        v.insert(m.rng.choice([i + 1, len(v)]), other)
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(2)
def enc_duplicate_field(m):
    v = m.value("__encryption__")
    e = m.rng.choice(v)[1]
    e.insert(m.rng.randrange(len(e) + 1), copy(m.rng.choice(e)))
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(2)
def enc_duplicate_unused(m):
    """Fields of the other version, or unknown ones, there twice."""
    v = m.value("__encryption__")
    e = m.rng.choice(v)[1]
    f = m.rng.choice(["iv", "tag", "base_iv", "tags", "extra"])
    e.extend([[f, "AAAA"], [f, "AAAA"]])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_missing(m):
    v = m.value("__encryption__")
    e = m.rng.choice(v)[1]
    del e[m.rng.randrange(len(e))]
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_entry_missing(m):
    """The tensor is then plain: both give its ciphertext, and only because it is signed so."""
    v = m.value("__encryption__")
    del v[m.rng.randrange(len(v))]
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_type(m):
    v = m.value("__encryption__")
    e = m.rng.choice(v)
    if m.rng.random() < 0.3:
        e[1] = m.rng.choice([None, 1, True, "", "x", [1], Obj()])
    else:
        f = m.rng.choice(e[1])
        f[1] = m.rng.choice([None, 1, True, [], Obj(), [f[1]], [0] * 12])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_unused(m):
    """Fields of the other version."""
    v = m.value("__encryption__")
    e = m.rng.choice(v)[1]
    e.append([m.rng.choice(["base_iv", "tags", "iv", "tag"]), m.rng.choice(["", "AAAA", "AAA", "AA==", "A=A=", "!!!!", None, 1,
                                                                            "AAAA\n", "____", "AB==", [], "A" * 4000])])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_both_versions(m):
    """All seven fields, good ones, in a file of one version."""
    v = m.value("__encryption__")
    for _, e in v:
        for a, b in (("iv", "base_iv"), ("tag", "tags")):
            have = a if any(k == a for k, _ in e) else b
            e.append([b if have == a else a, e.get(have)])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_base64(m):
    v = m.value("__encryption__")
    f = m.rng.choice(m.entry(v)[1])
    f[1] = respelled_base64(m, f[1] or "AAAA")
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_length(m):
    """Bytes taken from or added to a field."""
    v = m.value("__encryption__")
    f = m.rng.choice(m.rng.choice(v)[1])
    b = base64.b64decode(f[1])
    b = m.rng.choice([b[:-1], b + b"\0", b + bytes(16), b[:-16], b"", b[:12], b + b, b[1:], b + bytes(4), bytes(len(b))])
    f[1] = base64.b64encode(b).decode()
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_tags(m):
    """Surplus and shortage of tags; whole ones."""
    if not m.chunked():
        return None
    v = m.value("__encryption__")
    e = m.entry(v)[1]
    b = base64.b64decode(e.get("tags"))
    b = m.rng.choice([b + bytes(16), b + bytes(160), b[:-16], b[16:], b[:16], b[::-1], b + b, b + bytes(8), b[16:] + b[:16]])
    e.put("tags", base64.b64encode(b).decode())
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_bits(m):
    """A bit of a field."""
    v = m.value("__encryption__")
    f = m.rng.choice(m.rng.choice(v)[1])
    b = bytearray(base64.b64decode(f[1]))
    if not b:
        return None
    b[m.rng.randrange(len(b))] ^= 1 << m.rng.randrange(8)
    f[1] = base64.b64encode(b).decode()
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_empty(m):
    """What belongs to an empty tensor."""
    v = m.value("__encryption__")
    empty = {m.head[i][0] for i in m.tensors() if len(set(m.head[i][1].get("data_offsets"))) == 1}
    fit = [e for e in v if e[0] in empty]
    if not fit:
        return None
    f = m.rng.choice(m.rng.choice(fit)[1][3:])
    b = base64.b64decode(f[1])
    b = m.rng.choice([bytes(12), bytes(16), b"", b[:-1], b[::-1], b + bytes(16), b"\0"])
    f[1] = base64.b64encode(b).decode()
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_exchanged(m):
    """The values of two entries, or of one field of them."""
    v = m.value("__encryption__")
    if len(v) < 2:
        return None
    a, b = m.rng.sample(range(len(v)), 2)
    if m.rng.random() < 0.5:
        v[a][1], v[b][1] = v[b][1], v[a][1]
    else:
        i = m.rng.randrange(5)
        v[a][1][i][1], v[b][1][i][1] = v[b][1][i][1], v[a][1][i][1]
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind(6)
def enc_renamed(m):
    v = m.value("__encryption__")
    m.rng.choice(v)[0] = m.rng.choice(["", "another", "\0", v[0][0] + " ", m.rng.choice(v)[0].upper()])
    m.set_value("__encryption__", v)
    return dump(m.head)


def wrap(m, dek):
    iv = m.rng.randbytes(12)
    wrapped, tag = judge.aead_seal(m.base.alg, m.base.kek, iv, dek)
    return [["wrapped_key", base64.b64encode(wrapped).decode()], ["key_iv", base64.b64encode(iv).decode()], ["key_tag",
            base64.b64encode(tag).decode()]]


@kind(6)
def enc_absent(m):
    """An entry of a tensor that is not there: good, or with one fault."""
    v = m.value("__encryption__")
    dek = m.rng.randbytes(m.rng.choice([len(m.base.kek)] * 4 + [0, 1, 16, 24, 32, 33]))
    e = Obj(wrap(m, dek) + ([["base_iv", "AAAAAAAAAAAAAAAA"], ["tags", "A" * 22 + "=="]] if m.chunked() else [["iv",
            "AAAAAAAAAAAAAAAA"], ["tag", "A" * 22 + "=="]]))
    fault = m.rng.randrange(6)
    if fault == 0:
        m.rng.choice(e)[1] = m.rng.choice(["", "AAAA", "x", None])
    elif fault == 1:
        e[3][1] = m.rng.choice(["", "AAAA"])
    elif fault == 2:
        e[4][1] = m.rng.choice(["", "AAAA", "A" * 43 + "="])
    v.insert(m.rng.randrange(len(v) + 1), ["absent", e])
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_dek_length(m):
    """A data key of another length, properly wrapped."""
    v = m.value("__encryption__")
    e = m.rng.choice(v)[1]
    e[:3] = wrap(m, m.rng.randbytes(m.rng.choice([0, 1, 15, 16, 24, 31, 32, 33])))
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_rewrapped(m):
    """All data keys under new IVs, as after a rewrap."""
    v = m.value("__encryption__")
    for _, e in v:
        old = {k: base64.b64decode(x) for k, x in e}
        e[:3] = wrap(m, judge.aead_open(m.base.alg, m.base.kek, old["key_iv"], old["wrapped_key"], old["key_tag"]))
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_counter(m):
    """Chunks whose counter would overflow; the tags are made for it as if it wrapped."""
    if not m.chunked():
        return None
    v = m.value("__encryption__")
    e = m.entry(v)[1]
    b = base64.b64decode(e.get("base_iv"))
    e.put("base_iv", base64.b64encode(b[:8] + b"\xff\xff\xff" + bytes([m.rng.choice([0xff, 0xfe, 0])])).decode())
    m.set_value("__encryption__", v)
    return dump(m.head)


@kind()
def enc_text(m):
    text = m.meta().get("__encryption__")
    m.set_value("__encryption__", m.rng.choice(["\ufeff" + text, text + "\0", text + "x", text[:-1], text + "}",
                                                "[" + text + "]", text + text, text[:-1] + ",}",
                                                text.replace(",", ",,", 1), json.dumps(text), text + "//", " " + text,
                                                text.replace('"', "'"), text + ","]))
    return dump(m.head)


@kind(11)
def enc_depth(m):
    v = m.value("__encryption__")
    m.rng.choice(v)[1].append(["extra", nested(m.rng.choice([1, 60, 62, 63, 64, 65, 66, 120, 124, 125, 126, 127, 128, 200]),
                                               m.rng.choice("ao"))])
    m.set_value("__encryption__", v)
    return dump(m.head)
