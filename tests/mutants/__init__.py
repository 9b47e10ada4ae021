"""Mutations of headers for differential.py, and what the two sides make of each.

A mutant is a valid file whose header was changed, either as it is (its signature is then mostly wrong for both) or signed anew
over what the reference signs (docs/FORMAT.md, "Cryptography"), so that the rules about structure decide. Each kind of mutation
(header.py, values.py) names the numbers of the list "Where we differ from the reference" that it may touch.
"""
import collections
import random
import struct

from . import digests, header, values  # they fill KINDS
from .tree import KINDS, MARK, Base, Mutator, signed

TENSORS = {"w": ("F32", [3, 4], 48), "b": ("U8", [33], 33), "h": ("F16", [5], 10), "e": ("F32", [0, 7], 0), "s": ("I64", [], 8)}
METADATA = {"format": "pt", "note": "\u00e9 \"quoted\" \\ \n", "": "empty key", "__x__": "an application's own"}


def bases(d, folder, keys):
    """Valid files: {"theirs", "ours", ours with "digests": [Base]}."""
    model = {n: (t, s, random.Random(n).randbytes(size)) for n, (t, s, size) in TENSORS.items()}
    plain, out = folder / "base.safetensors", []
    plain.write_bytes(d.plain_file(model, METADATA, list(model)))
    for i, (alg, version, cs, kid, some) in enumerate([
            ("aes256gcm", "1", None, True, None), ("aes256gcm", "2", 16, True, None), ("aes256gcm", "2", 7, False, None),
            ("aes256gcm", "2", None, True, ["w", "e"]), ("aes128gcm", "1", None, False, ["b", "e"]),
            ("aes128gcm", "2", 16, True, None),
            ("chacha20poly1305", "1", None, True, None), ("chacha20poly1305", "2", 16, True, ["w", "b", "e"])]):
        path = folder / f"base-{i}"
        d.register(alg)
        k = d.key_set(alg)["keys"][2 * kid:]
        config = {"version": version} | ({"chunk_size": cs} if cs else {}) | ({"tensors": some} if some else {})
        config |= {"enc_kid": d.KID, "sign_kid": d.KID + "s"} if kid else {"enc_key": k[0], "sign_key": k[1]}
        d.they_write(path, model, METADATA, config)
        out.append(Base(f"theirs-{alg}-{version}-{cs}", path.read_bytes(), alg, *k[:2]))
        for more in [[], ["--digests"], ["--tensors", "[wbe]"], ["--tensors", "w", "--tensors", "e", "--digests"]]:
            options = ["--format-version", version, "--header-reserve", "0", *(["--chunk-size", str(cs)] if cs else []), *more]
            r = d.ct("encrypt", "-q", "--force", "--keys", keys[alg, kid], *options, str(plain), str(path))
            assert r.returncode == 0, r.stderr
            out.append(Base(f"ours-{alg}-{version}-{cs} {more}", path.read_bytes(), alg, *k[:2]))
    return {"theirs": [b for b in out if b.name.startswith("theirs")], "digests": [b for b in out if b.has_digests],
            "ours": [b for b in out if b.name.startswith("ours") and not b.has_digests]}


Mutant = collections.namedtuple("Mutant", "name kind base anew raw allowed")


def make(seed, files, n):
    """n of each kind, each as it is and signed anew."""
    out = []
    for name, (function, allowed) in KINDS.items():
        rng = random.Random(f"{seed} {name}")
        for i in range(n):
            base = rng.choice(files["digests" if 26 in allowed else rng.choice(["theirs", "ours"])])
            m = Mutator(base, rng)
            text = function(m)
            if text is None:
                continue
            plain = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            for anew in (False, True):
                head = signed(text, base) if anew else plain.replace(MARK.encode(), base.old.encode())
                raw = struct.pack("<Q", len(head)) + head + m.data
                out.append(Mutant(f"{name}-{i}-{'anew' if anew else 'as-is'}.safetensors", name, base, anew, raw, allowed))
    return out


def run(d, seed, folder, keys, n=32):
    """d: differential.py. Returns counts of the verdicts."""
    files = bases(d, folder, keys)
    counts = collections.Counter()
    made = make(seed, files, n)
    for alg in d.ALGS:
        where, good = folder / f"mutants-{alg}", folder / f"mutants-{alg}-good"
        where.mkdir()
        good.mkdir()
        mine = [m for m in made if m.base.alg == alg]
        for m in mine:
            (where / m.name).write_bytes(m.raw)
        ours = d.ct_verify(keys[alg, None], where)
        assert set(ours) == {m.name for m in mine}
        for name, verdict in ours.items():
            if verdict is None:
                (good / name).hardlink_to(where / name)
        read = d.ct_decrypt(keys[alg, None], good, folder / f"mutants-{alg}-out")
        d.register(alg)
        for m in mine:
            d.compare(where / m.name, m, d.key_set(alg), ours[m.name], read.get(m.name), counts)
    return counts
