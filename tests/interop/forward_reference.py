#!/usr/bin/env python3
"""transformers' float32 logits of a checkpoint against `kerf eval --logits`: max |difference| <= 1e-4 max |logit|.

  forward_reference.py --kerf KERF --model MODEL --text FILE [--ctx N] [--windows N]
"""
import argparse
import json
import pathlib
import tempfile

import numpy as np
import torch

from interop import Checks, Kerf, Windows, perplexity, resolve
from pytorch_reference import log_probabilities


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kerf", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--ctx", type=int, default=256)
    parser.add_argument("--windows", type=int, default=4)
    options = parser.parse_args()
    kerf = Kerf(options.kerf)
    model = resolve(options.model)
    windows = Windows(resolve(options.text), ctx=options.ctx, count=options.windows, skip=0)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))

    with tempfile.TemporaryDirectory(prefix="kerf-interop-") as work:
        mine = kerf.log_probabilities(model, pathlib.Path(work) / "kerf.npy", *windows.options())
        ids = windows.cut(kerf.ids(model, windows.text), config["bos_token_id"])
        theirs, _, largest_logit = log_probabilities(model, ids, dtype=torch.float32)
        checks = Checks()
        difference = max(float(np.abs(a - b).max()) for a, b in zip(mine, theirs))
        limit = 1e-4 * largest_logit
        checks.that(difference <= limit, f"log-probabilities apart by at most {difference:.2e} (limit {limit:.2e})")
        checks.close("perplexity", perplexity(mine, ids), perplexity(theirs, ids), 1e-5)
        checks.finish()


main()
