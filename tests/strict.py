"""strict.py WHAT …: crafted files for strict.bats, and what the reference implementation makes of files. Needs BUILD.

  craft CASE KEYS IN OUT   changes the encrypted file IN as CASE says (below), signs it anew with the set's keys
  theirs [KEYS] FILE       prints the package's verdict: ok, plain, open or read, and why
"""
import json
import pathlib
import random
import struct
import sys

import differential
from mutants.tree import Base, Mutator, Raw, dump, signed


def values(m):
    """An unknown member of 4,194,304 values."""
    m.tensor()[1].append(["extra", Raw("[" + "0," * 4194303 + "0]")])


def material(m):
    """A key where only its name belongs."""
    v = m.value("__crypto_keys__")
    v.get("enc").append(["k", "A" * 43 + "="])
    m.set_value("__crypto_keys__", v)


def empty_tag(m):
    """Another tag of the empty tensor."""
    v = m.value("__encryption__")
    v.get("none").put("tags", "A" * 22 + "==")
    m.set_value("__encryption__", v)


def jku(m):
    """Both keys are to be found where the file says: in jku.jwk beside it."""
    v = m.value("__crypto_keys__")
    for part in ("enc", "sign"):
        v.get(part).append(["jku", f"file://{pathlib.Path('jku.jwk').resolve()}"])
    m.set_value("__crypto_keys__", v)


def array(m):
    """The entries as arrays: the members of both versions, in the reference's order."""
    v = m.value("__encryption__")
    for e in v:
        wrapped, base_iv, tags = [x for _, x in e[1][:3]], e[1].get("base_iv"), e[1].get("tags")
        e[1] = wrapped + [None, None, base_iv, tags]
    m.set_value("__encryption__", v)


def short_array(m):
    """Arrays without the two members of version 1: base_iv stands in the place of iv."""
    v = m.value("__encryption__")
    for e in v:
        e[1] = [x for _, x in e[1]]
    m.set_value("__encryption__", v)


def craft(case, keys, path, out):
    keys = json.loads(pathlib.Path(keys).read_text())["keys"]
    kek, signer = (next(k for k in keys if k["kty"] == kty) for kty in ("oct", "okp"))
    m = Mutator(Base(path, pathlib.Path(path).read_bytes(), kek["alg"], kek, signer), random.Random(1))
    globals()[case](m)
    head = signed(dump(m.head), m.base)
    pathlib.Path(out).write_bytes(struct.pack("<Q", len(head)) + head + m.data)


def theirs(*args):
    import cryptotensors
    if len(args) == 2:
        cryptotensors.register_direct_key_provider(keys=json.loads(pathlib.Path(args[0]).read_text()))
    verdict, what = differential.they_read(args[-1], "np")
    print(verdict, "" if verdict in ("ok", "plain") else what)


if __name__ == "__main__":
    {"craft": craft, "theirs": theirs}[sys.argv[1]](*sys.argv[2:])
