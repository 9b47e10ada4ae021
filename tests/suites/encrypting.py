"""pytest plugin: every file that safetensors saves is replaced by its encrypted copy before the call returns.

CT is our ct, CT_KEYS the key set; each file that was found encrypted on the disk, by a program without the preload, is a line in $SUITE_ENCRYPTED.
serialize_file is what save_file of all modules (numpy, torch, flax …) and save_model call; they take it by name, so it is replaced before
they are imported.
"""
import os
import subprocess

import safetensors

plain_env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
saved = safetensors.serialize_file


def serialize_file(tensors, filename, *args, **kwargs):
    saved(tensors, filename, *args, **kwargs)
    made = f"{os.fspath(filename)}.encrypted"
    subprocess.run([os.environ["CT"], "encrypt", "-q", "--keys", os.environ["CT_KEYS"], filename, made], check=True, env=plain_env)
    os.replace(made, filename)
    subprocess.run(["grep", "-aq", "__encryption__", filename], check=True, env=plain_env)
    with open(os.environ["SUITE_ENCRYPTED"], "a") as f:
        f.write(f"{os.path.abspath(filename)}\n")


safetensors.serialize_file = serialize_file
