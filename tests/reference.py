"""reference.py WHAT …: both sides of the exchange with the reference implementation (package cryptotensors).

  plain FOLDER              writes small.safetensors (every dtype, non-ASCII names, an empty tensor) and big.safetensors (5 MB)
  write FOLDER KEYS PREFIX  the package encrypts the same content, all algorithms and versions it knows, with the key set's keys
  rewrap FILE OLD NEW       the package rewraps FILE in place, from one key set to the other
  read FILE…                what the package reads, keys from CRYPTOTENSOR_KEYS
  show FILE…                what safetensors reads (plain files, or under the preload)
  show-visible FILE…        the same without the metadata that the package hides: what `read` should give
  show-written FILE…        the same without the dtypes that the package cannot write

These print, for each file, its user metadata and one line a tensor: name, dtype, shape, sha256. Names of files are left out, so that
two runs can be compared.
"""
import hashlib
import json
import pathlib
import struct
import sys

# dtype, bits, the package's name for it (None: it cannot write that one)
DTYPES = [("U64", 64, "uint64"), ("I64", 64, "int64"), ("F64", 64, "float64"), ("C64", 64, "complex64"), ("F32", 32, "float32"),
          ("U32", 32, "uint32"), ("I32", 32, "int32"), ("BF16", 16, "bfloat16"), ("F16", 16, "float16"), ("U16", 16, "uint16"),
          ("I16", 16, "int16"), ("F8_E8M0", 8, "float8_e8m0fnu"), ("F8_E4M3", 8, "float8_e4m3fn"), ("F8_E5M2", 8, "float8_e5m2"),
          ("I8", 8, "int8"), ("U8", 8, "uint8"), ("F6_E3M2", 6, None), ("F6_E2M3", 6, None), ("F4", 4, "float4_e2m1fn_x2"),
          ("BOOL", 8, "bool")]
METADATA = {"format": "pt", "note": "h\u00e9llo \u4e2d \"quoted\" \\ \n\t \u001f /", "": "empty key", "__ours__": "an application's own"}


def noise(name, n):
    return hashlib.shake_256(name.encode()).digest(n)


def small():
    """[(name, dtype, shape, data)]: 24 elements or 17 a dtype, one empty tensor, names that need care."""
    out = []
    for i, (dtype, bits, _) in enumerate(DTYPES):
        shape = [4, 6] if bits % 8 else [17]
        n = (24 if bits % 8 else 17) * bits // 8
        data = noise(dtype, n)
        out.append((f"w.{i}.{dtype}", dtype, shape, bytes(b & 1 for b in data) if dtype == "BOOL" else data))
    return out + [("\u00e9\u4e2d/\U0001f600", "F32", [3, 3], noise("smile", 36)), ("tab\t\"quote\"\\", "I8", [5], noise("tab", 5)),
                  ("empty", "F32", [0, 7], b""), ("scalar", "F32", [], noise("scalar", 4))]


def big():
    return [("body", "F32", [1280, 1024], noise("body", 1280 * 4096)), ("tail", "U8", [4099], noise("tail", 4099))]


def write_plain(path, tensors):
    head, at = {"__metadata__": METADATA}, 0
    for name, dtype, shape, data in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    h = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    path.write_bytes(struct.pack("<Q", len(h)) + h + b"".join(t[3] for t in tensors))


def write_reference(folder, keys, prefix):
    import cryptotensors
    names = {d: n for d, _, n in DTYPES}
    keys = json.loads(pathlib.Path(keys).read_text())
    cryptotensors.register_direct_key_provider(keys=keys)
    kid = {k["kty"]: k["kid"] for k in keys["keys"]}
    for size, tensors in (("small", small()), ("big", big())):
        # The package draws base_iv at random and gives up where the counter would overflow; with few chunks that is never seen.
        for version, chunk in (("1", None), ("2", None), ("2", 4096), ("2", 7))[:3 if size == "big" else 4]:
            cryptotensors.serialize_file(
                # F4 is written two to a byte under that name: shape counts bytes
                {n: {"dtype": names[d], "shape": s[:-1] + [s[-1] // 2] if d == "F4" else s, "data": b} for n, d, s, b in tensors
                 if names[d]},
                folder / f"{prefix}-{size}-v{version}-c{chunk}.safetensors", METADATA,
                {"enc_kid": kid["oct"], "sign_kid": kid["okp"], "version": version} | ({"chunk_size": chunk} if chunk else {}))


def rewrap_reference(path, old, new):
    import cryptotensors
    sets = [json.loads(pathlib.Path(p).read_text())["keys"] for p in (old, new)]
    cryptotensors.register_direct_key_provider(keys={"keys": sets[0] + sets[1]})
    kid = {k["kty"]: k["kid"] for k in sets[1]}
    cryptotensors.rewrap_file(path, {"enc_kid": kid["oct"], "sign_kid": kid["okp"]})


def show(what, path):
    module = __import__("cryptotensors" if what == "read" else "safetensors")
    with open(path, "rb") as f:
        tensors = module.deserialize(f.read())
    with module.safe_open(path, "np") as f:
        metadata = f.metadata() or {}
    if what == "show-visible":
        metadata = {k: v for k, v in metadata.items() if not k.startswith("__")}
    if what == "show-written":
        written = {d for d, _, n in DTYPES if n}
        tensors = [t for t in tensors if t[1]["dtype"] in written]
    print("metadata", sorted(metadata.items()))
    for name, t in sorted(tensors):
        print(repr(name), t["dtype"], list(t["shape"]), hashlib.sha256(t["data"]).hexdigest())
    sys.stdout.flush()


def main(what, *args):
    if what == "plain":
        for name, tensors in (("small", small()), ("big", big())):
            write_plain(pathlib.Path(args[0]) / f"{name}.safetensors", tensors)
    elif what == "write":
        write_reference(pathlib.Path(args[0]), args[1], args[2])
    elif what == "rewrap":
        rewrap_reference(*args)
    else:
        for path in args:
            show(what, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
