"""cases.py LIBRARY CASE FILE [ARG]: one measured process of scripts/bench.

LIBRARY: safetensors, or cryptotensors (the reference, keys from CRYPTOTENSOR_KEYS). Imports what the case needs, says "ready", and starts the clock
when a line comes on stdin. Prints JSON: seconds (of the case alone), cpu (of all threads of this process), memory in bytes: its peak (VmHWM, from the
start on), and anonymous and other memory (file, shared) at the end, while what was loaded is held; sum: of all that was read, as 64-bit words.
"""
import importlib
import json
import re
import sys
import time

LIBRARY, CASE, FILE = sys.argv[1:4]
ARG = sys.argv[4] if len(sys.argv) > 4 else None
MASK = (1 << 64) - 1


def words(array):
    """Reads every byte."""
    flat = array.reshape(-1).view(numpy.uint8)
    whole = flat[:flat.size // 8 * 8].view(numpy.uint64)
    return int(numpy.add.reduce(whole, dtype=numpy.uint64)) + int(flat[whole.size * 8:].sum())


def torch_words(tensor):
    return words(tensor.detach().reshape(-1).view(torch.uint8).numpy())


def total(values):
    return sum(values) & MASK


# Each case: what is imported before the clock starts, and what is measured. What it returns first is held until memory was looked at.

def case_open():
    with library.safe_open(FILE, "np") as f:
        return f, len(f.keys())


def case_torch():
    found = of_library.load_file(FILE)
    return found, total(map(torch_words, found.values()))


def case_untouched():
    found = of_library.load_file(FILE)
    return found, len(found)


def case_numpy():
    found = of_library.load_file(FILE)
    return found, total(map(words, found.values()))


def case_tensors():
    """Those of a list alone."""
    with library.safe_open(FILE, "pt") as f:
        found = [f.get_tensor(n) for n in names]
        return found, total(map(torch_words, found))


def case_row():
    with library.safe_open(FILE, "pt") as f:
        row = f.get_slice(names[0])[1000:1001]
        return row, torch_words(row)


def case_transformers():
    model = transformers.AutoModelForCausalLM.from_pretrained(FILE, dtype="auto")
    return model, total(torch_words(p) for _, p in model.named_parameters())


def case_save():
    """What was loaded before is encrypted into the file ARG."""
    of_library.save_file(loaded, ARG, config=config)
    return loaded, len(loaded)


def prepare():
    global library, of_library, names, loaded, config, numpy, torch, transformers
    import numpy
    library = importlib.import_module(LIBRARY)
    if CASE != "open":
        import torch
    if CASE in ("torch", "untouched", "save"):
        of_library = importlib.import_module(LIBRARY + ".torch")
    elif CASE == "numpy":
        of_library = importlib.import_module(LIBRARY + ".numpy")
    if CASE in ("tensors", "row"):
        with open(ARG) as f:
            names = json.load(f)
    if CASE == "transformers":
        import transformers
        from transformers.models.gpt2 import modeling_gpt2  # noqa: F401
        from transformers.models.qwen3 import modeling_qwen3  # noqa: F401
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        if LIBRARY == "cryptotensors":  # its own integration fails with transformers 5, which passes one argument more
            import transformers.modeling_utils as m
            m.safe_open = lambda file, framework, device="cpu", backend=None: library.safe_open(file, framework, device)
    if CASE == "save":
        import os
        from safetensors.torch import load_file
        loaded = {k: v.clone() for k, v in load_file(FILE).items()}
        keys = json.loads(os.environ["CRYPTOTENSOR_KEYS"])
        library.register_direct_key_provider(keys=keys)
        kid = {k["kty"].lower(): k["kid"] for k in keys["keys"]}
        config = {"enc_kid": kid["oct"], "sign_kid": kid["okp"], "version": "2"}


def memory(path, *fields):
    with open(path) as f:
        text = f.read()
    found = (re.search(rf"^{name}:\s*(\d+) kB", text, re.M) for name in fields)
    return [int(m[1]) * 1024 if m else 0 for m in found]


prepare()
with open("/proc/self/clear_refs", "w") as f:  # the peak of importing is none of ours
    f.write("5")
print("ready", flush=True)
sys.stdin.readline()
cpu, start = time.process_time(), time.perf_counter()
held, checksum = globals()["case_" + CASE]()
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak, anonymous, file, shared = memory("/proc/self/status", "VmHWM", "RssAnon", "RssFile", "RssShmem")
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "anonymous": anonymous, "other": file + shared, "sum": checksum}), flush=True)
