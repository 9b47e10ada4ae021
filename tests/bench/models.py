"""models: the models that scripts/bench measures with, made from a seed and kept in a folder; and what their encrypted files consist of.

A folder NAME holds plain/model.safetensors (the view: what ct decrypt gives), ct/model.safetensors, variants of that (ct-chacha/…), keys.jwk
beside each of these, and config.json for transformers.
"""
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
import judge  # noqa: E402

SEED = 8
MIB = 1 << 20
RECIPE = "2"  # raised when something below changes: what lies in the folder is made anew
SIZES = {"BF16": 2, "F32": 4}


def gpt2():
    """GPT-2's 148 tensors, F32, 0.5 GB."""
    wide, vocab, places = 768, 50257, 1024
    yield "wte.weight", "F32", (vocab, wide)
    yield "wpe.weight", "F32", (places, wide)
    for i in range(12):
        for name, shape in (("ln_1.weight", (wide,)), ("ln_1.bias", (wide,)), ("attn.c_attn.weight", (wide, 3 * wide)), ("attn.c_attn.bias", (3 * wide,)),
                            ("attn.c_proj.weight", (wide, wide)), ("attn.c_proj.bias", (wide,)), ("ln_2.weight", (wide,)), ("ln_2.bias", (wide,)),
                            ("mlp.c_fc.weight", (wide, 4 * wide)), ("mlp.c_fc.bias", (4 * wide,)), ("mlp.c_proj.weight", (4 * wide, wide)),
                            ("mlp.c_proj.bias", (wide,))):
            yield f"h.{i}.{name}", "F32", shape
    yield "ln_f.weight", "F32", (wide,)
    yield "ln_f.bias", "F32", (wide,)


def qwen3():
    """Qwen3-0.6B's 310 tensors, BF16, tied embeddings, 1.19 GB."""
    wide, inner, vocab = 1024, 3072, 151936
    yield "model.embed_tokens.weight", "BF16", (vocab, wide)
    for i in range(28):
        for name, shape in (("input_layernorm", (wide,)), ("mlp.down_proj", (wide, inner)), ("mlp.gate_proj", (inner, wide)),
                            ("mlp.up_proj", (inner, wide)), ("post_attention_layernorm", (wide,)), ("self_attn.k_norm", (128,)),
                            ("self_attn.k_proj", (1024, wide)), ("self_attn.o_proj", (wide, 2048)), ("self_attn.q_norm", (128,)),
                            ("self_attn.q_proj", (2048, wide)), ("self_attn.v_proj", (1024, wide))):
            yield f"model.layers.{i}.{name}.weight", "BF16", shape
    yield "model.norm.weight", "BF16", (wide,)


def many():
    """4,096 small tensors, 64 MiB."""
    return ((f"block.{i // 16}.part.{i % 16}.weight", "F32", (64, 64)) for i in range(4096))


def swarm():
    """100,000 tensors of 64 bytes: for opening alone."""
    return ((f"expert.{i // 1000}.row.{i % 1000}", "F32", (16,)) for i in range(100000))


def one():
    """One tensor of 1 GiB."""
    yield "weight", "BF16", (1 << 18, 1 << 11)


CONFIGS = {
    "gpt2": {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "dtype": "float32"},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "dtype": "bfloat16", "vocab_size": 151936, "hidden_size": 1024,
              "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
              "tie_word_embeddings": True, "max_position_embeddings": 40960},
}
MODELS = {"gpt2": gpt2, "qwen3": qwen3, "many": many, "swarm": swarm, "one": one}
# Other ways of encrypting the same, for the model that has them: arguments of ct keygen, and of ct encrypt.
VARIANTS = {"aes128": (["--alg", "aes128gcm"], []), "chacha": (["--alg", "chacha20poly1305"], []), "64K": ([], ["--chunk-size", "64K"]),
            "2M": ([], ["--chunk-size", "2M"]), "16M": ([], ["--chunk-size", "16M"]), "v1": ([], ["--format-version", "1"])}
CIPHERS = {"aes256gcm": "AES-256-GCM", "aes128gcm": "AES-128-GCM", "chacha20poly1305": "ChaCha20-Poly1305"}


def make_plain(shapes, path):
    import numpy
    head, at = {}, 0
    for name, dtype, shape in shapes:
        size = SIZES[dtype]
        for n in shape:
            size *= n
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **head}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    rng = numpy.random.default_rng(SEED)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            f.write(rng.bytes(min(at, 16 * MIB)))
            at -= min(at, 16 * MIB)


def make(root, name, ct, variants):
    """The folder of that model, made where it is not there yet. ct: the program."""
    folder = root / name
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_text() != RECIPE:
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("plain", "ct"):
            (folder / part).mkdir(parents=True)
            if name in CONFIGS:
                (folder / part / "config.json").write_text(json.dumps(CONFIGS[name]))
        if shutil.disk_usage(folder).free < 8 << 30:
            sys.exit(f"bench: {folder} needs some GiB of free space: choose another --dir")
        print(f"making the model {name}", file=sys.stderr, flush=True)
        made = folder / "made"
        make_plain(MODELS[name](), made)
        keys = keygen(ct, folder / "ct")
        run(ct, "encrypt", "-q", "--keys", keys, made, folder / "ct/model.safetensors")
        run(ct, "decrypt", "-q", "--keys", keys, folder / "ct/model.safetensors", folder / "plain/model.safetensors")
        made.unlink()
        stamp.write_text(RECIPE)
    for v in variants:
        to = folder / f"ct-{v}"
        if not (to / "model.safetensors").exists():
            print(f"encrypting {name}: {v}", file=sys.stderr, flush=True)
            shutil.rmtree(to, ignore_errors=True)
            to.mkdir()
            alg, how = VARIANTS[v]
            run(ct, "encrypt", "-q", "--keys", keygen(ct, to, *alg), *how, folder / "plain/model.safetensors", to / "model.safetensors")
    return folder


def keygen(ct, folder, *alg):
    run(ct, "keygen", "-q", *alg, "-o", folder / "keys.jwk")
    return folder / "keys.jwk"


def run(*args):
    subprocess.run([str(a) for a in args], check=True)


class Encrypted:
    """The tensors and chunks of an encrypted file, from its header."""

    def __init__(self, path, keys):
        with open(path, "rb") as f:
            raw = f.read(8)
            raw += f.read(struct.unpack("<Q", raw)[0])
        _, _, meta, tensors = judge.split(raw)
        info, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
        self.deks, self.info = judge.data_keys(raw, json.loads(pathlib.Path(keys).read_text())), info
        self.data, self.entries, self.cipher = len(raw), entries, CIPHERS[judge.spelled(info["enc"]["alg"])]
        self.tensors = {name: (a, b) for name, _, _, a, b in tensors}
        self.bytes = sum(b - a for a, b in self.tensors.values())

    def names(self, share):
        """A share of the names, chosen by the seed, in the order of the file."""
        return sorted(random.Random(SEED).sample(sorted(self.tensors), max(1, int(len(self.tensors) * share))), key=self.tensors.get)

    def largest(self):
        return max(self.tensors, key=lambda n: self.tensors[n][1] - self.tensors[n][0])

    def table(self, names=None):
        """struct chunk of floor.c for these tensors."""
        out = bytearray()
        for name in names or self.tensors:
            (a, b), e = self.tensors[name], judge._entry(self.entries[name], self.info)
            size = judge._chunk_size(self.info) or b - a
            tags = e.get("tags") or e["tag"]
            for i, at in enumerate(range(a, b, size)):
                iv = judge.chunk_iv(e["base_iv"], i) if "base_iv" in e else e["iv"]
                out += struct.pack("<QQ32s12s16s4x", self.data + at, min(size, b - at), self.deks[name], iv, tags[16 * i:16 * i + 16])
        return bytes(out)
