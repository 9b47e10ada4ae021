"""tensor_sums.py FILE: every tensor by safetensors.torch.load_file, summed by torch: a line "name sum digest" each.

The sum is that of the tensor's bytes as 64-bit words, modulo 2^64; the digest is of the sums of its blocks of 1 MiB, which a page in
the wrong place changes.
"""
import hashlib
import sys

import torch
from safetensors.torch import load_file

WORDS = (1 << 20) // 8
for name, tensor in load_file(sys.argv[1]).items():
    words = tensor.flatten().view(torch.int64)
    whole = words.numel() // WORDS * WORDS
    blocks = torch.cat([words[:whole].view(-1, WORDS).sum(1), words[whole:].sum().view(1)])
    print(name, int(blocks.sum()) % 2**64, hashlib.sha256(blocks.numpy().tobytes()).hexdigest()[:16])
