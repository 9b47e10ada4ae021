"""runai_load.py FILE STRATEGY: runai-model-streamer; STRATEGY is its RUNAI_STREAMER_FS_STRATEGY (its default is io_uring, by inline system calls)."""
import os
import sys

os.environ["RUNAI_STREAMER_FS_STRATEGY"] = sys.argv[2]
from runai_model_streamer import SafetensorsStreamer  # noqa: E402

import digest  # noqa: E402

out = {}
with SafetensorsStreamer() as s:
    s.stream_files([sys.argv[1]])
    for name, tensor in s.get_tensors():
        out[name] = tensor.clone()
digest.show(out)
