"""format_example.py: the worked example of docs/FORMAT.md, made from that document alone.

  block               prints what must stand in the section "A worked example" between its two marks
  document PATH       prints what stands there in the document at PATH
  shown PATH TITLE    writes the bytes that the document shows under that title

Nothing in it is drawn at random, so that it is the same in every run. Never use such keys.
"""
import base64
import hashlib
import pathlib
import re
import struct
import sys

import judge

ALG, CHUNK, PIECE = "aes128gcm", 8, 4096
MASTER, SEED = bytes(range(0x10)), bytes(range(0x20, 0x40))
MARKS = "<!-- tests/format_example.py block -->", "<!-- end -->"


def run(start, n):
    return bytes((start + i) % 256 for i in range(n))


# name, dtype, shape, content, encrypted
TENSORS = [("w", "F32", [5], struct.pack("<5f", 1, -2, 0.5, 3, 100), True), ("p", "U8", [3], b"\1\2\3", False), ("none", "U8", [0], b"", True)]
# name: data key, key_iv, base_iv
SECRETS = {"w": (run(0x50, 16), run(0xa0, 12), run(0xb0, 8) + bytes.fromhex("000000ff")),
           "none": (run(0x60, 16), run(0xc0, 12), run(0xd0, 12))}


def b64(b):
    return base64.b64encode(b).decode()


def file(head, data):
    head = head.encode() if isinstance(head, str) else head
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def keyset():
    return {"keys": [{"kty": "oct", "alg": ALG, "kid": "ek", "k": b64(MASTER)},
                     {"kty": "okp", "alg": "ed25519", "kid": "sk", "x": b64(judge.ed25519_public(SEED)), "d": b64(SEED)}]}


def tensors():
    """As judge.canonical() takes them: (name, dtype, shape, begin, end)."""
    out, at = [], 0
    for name, dtype, shape, content, _ in TENSORS:
        out.append((name, dtype, shape, at, at + len(content)))
        at += len(content)
    return out


def encrypt():
    """(the encrypted file, its signed bytes, lines about each step, the signature)"""
    data, entries, digests, steps = b"", {}, {}, []
    for name, _, _, content, encrypted in TENSORS:
        if not encrypted:
            pieces = [content[i:i + PIECE] for i in range(0, len(content), PIECE)]
            digests[name] = b64(b"".join(hashlib.sha256(p).digest() for p in pieces))
            steps += [f"{name}", f"  digest 0     {hashlib.sha256(pieces[0]).hexdigest()}"]
            data += content
            continue
        key, key_iv, base_iv = SECRETS[name]
        wrapped, key_tag = judge.aead_seal(ALG, MASTER, key_iv, key)
        steps += [f"{name}", f"  data key     {key.hex()}", f"  key_iv       {key_iv.hex()}", f"  wrapped_key  {wrapped.hex()}",
                  f"  key_tag      {key_tag.hex()}", f"  base_iv      {base_iv.hex()}"]
        tags = b""
        for i in range(max(1, -(-len(content) // CHUNK))):
            nonce, part = judge.chunk_iv(base_iv, i), content[i * CHUNK:(i + 1) * CHUNK]
            sealed, tag = judge.aead_seal(ALG, key, nonce, part)
            steps += [f"{name}, chunk {i}", f"  nonce        {nonce.hex()}", f"  plaintext    {part.hex() or '(none)'}",
                      f"  ciphertext   {sealed.hex() or '(none)'}", f"  tag          {tag.hex()}"]
            data, tags = data + sealed, tags + tag
        entries[name] = {"wrapped_key": b64(wrapped), "key_iv": b64(key_iv), "key_tag": b64(key_tag), "base_iv": b64(base_iv), "tags": b64(tags)}
    meta = {
        "format": "pt",
        "__crypto_keys__": judge.text({"chunk_size": CHUNK, "enc": {"alg": ALG, "kid": "ek", "kty": "oct"},
                                       "sign": {"alg": "ed25519", "kid": "sk", "kty": "okp"}, "version": "2"}),
        "__encryption__": judge.text(dict(sorted(entries.items()))),
        "__policy__": judge.text({"local": judge.DEFAULT_POLICY, "remote": judge.DEFAULT_POLICY}),
        "__digests__": judge.text({"alg": "sha256", "chunk_size": PIECE, "tensors": digests}),
    }
    signed = judge.signed_bytes(meta, tensors())
    signature = judge.ed25519_sign(SEED, signed)
    assert judge.ed25519_verify(judge.ed25519_public(SEED), signed, signature)
    meta["__signature__"] = b64(signature)
    return file(judge.canonical(meta, tensors(), ()), data), signed, steps, signature


def plain():
    return file(judge.canonical({"format": "pt"}, tensors(), ()), b"".join(t[3] for t in TENSORS))


def dump(raw, parts):
    """Hexadecimal, 24 bytes a line; parts: [(end, what)]."""
    at, lines = 0, []
    for end, what in parts:
        if at < end:
            lines.append(f"      {what}")
        if what.startswith("padding"):
            lines[-1] = f"{at:04x}  {what}"
            at = end
        for a in range(at, end, 24):
            line = raw[a:min(a + 24, end)]
            shown = "".join(chr(c) if 0x20 <= c < 0x7f else "." for c in line) if what == "header" else ""
            lines.append(f"{a:04x}  {line.hex(' '):71}  {shown}".rstrip())
        at = end
    return lines


def parts(raw):
    n = struct.unpack("<Q", raw[:8])[0]
    text = len(raw[8:8 + n].rstrip())
    out = [(8, f"N = {n}"), (8 + text, "header"), (8 + n, f"padding, {n - text} spaces")]
    for name, _, _, begin, end in tensors():
        step = CHUNK if name in SECRETS and b"__encryption__" in raw else end - begin or 1
        out += [(8 + n + min(at + step, end), f"{name}, data bytes {at} to {min(at + step, end)}") for at in range(begin, end, step)]
    return out


def wrapped(b):
    t = b.decode()
    return [t[i:i + 120] for i in range(0, len(t), 120)]


def block():
    raw, signed, steps, signature = encrypt()
    view, bad = judge.view(raw, keyset())
    n, m = (struct.unpack("<Q", x[:8])[0] for x in (view, plain()))
    assert not bad and view[8 + n:] == plain()[8 + m:] and judge.split(view)[2:] == judge.split(plain())[2:]

    def fence(title, lines):
        return ["", title, "", "```", *lines, "```"]
    out = fence("The key set:", ['{"keys":[', ",\n".join(judge.text(k) for k in keyset()["keys"]), "]}"])
    out += fence("The plain file:", dump(plain(), parts(plain())))
    out += fence("Encrypted with chunks of 8 bytes, `w` and `none` alone:", steps)
    out += fence(f"The signed bytes, {len(signed)} of them, in lines of 120 (SHA-256 {hashlib.sha256(signed).hexdigest()}):", wrapped(signed))
    out += fence("The signature:", [signature.hex()])
    out += fence(f"The encrypted file, {len(raw)} bytes:", dump(raw, parts(raw)))
    out += fence(f"The view, {len(view)} bytes:", dump(view, parts(view)))
    return "\n".join(out) + "\n"


def in_document(path):
    begin, end = MARKS
    return pathlib.Path(path).read_text().split(begin + "\n")[1].split(end)[0]


def shown(path, title):
    """The bytes under a title of the document: what a dump stands for, or the text as it is."""
    lines = in_document(path).split(f"\n{title}")[1].split("```\n")[1].splitlines()
    if not re.match(r" +N = ", lines[0]):
        return "\n".join(lines).encode()
    out = b""
    for line in lines:
        m = re.fullmatch(r"([0-9a-f]{4})  (?:padding, (\d+) spaces|([0-9a-f ]{,71}).*)", line)
        if m:
            assert int(m[1], 16) == len(out), line
            out += b" " * int(m[2]) if m[2] else bytes.fromhex(m[3])
    return out


def main(what, *args):
    if what == "block":
        sys.stdout.write(block())
    elif what == "document":
        sys.stdout.write(in_document(*args))
    elif what == "shown":
        sys.stdout.buffer.write(shown(*args))


if __name__ == "__main__":
    main(*sys.argv[1:])
