#!/usr/bin/env python3
"""transformers' float32 logits of a checkpoint against `kerf eval --logits`: max |difference| <= 1e-4 max |logit|.

  forward_reference.py --kerf KERF --model MODEL --text FILE [--ctx N] [--windows N]
"""
import numpy as np
import torch

from interop import Checks, Setting, perplexity, workplace
from pytorch_reference import log_probabilities


def main():
    setting = Setting("model", "text", windows=4)

    with workplace() as work:
        mine = setting.log_probabilities(setting.model, work / "kerf.npy")
        ids = setting.ids()
        theirs, _, largest_logit = log_probabilities(setting.model, ids, dtype=torch.float32)
        checks = Checks()
        difference = max(float(np.abs(a - b).max()) for a, b in zip(mine, theirs))
        limit = 1e-4 * largest_logit
        checks.that(difference <= limit, f"log-probabilities apart by at most {difference:.2e} (limit {limit:.2e})")
        checks.close("perplexity", perplexity(mine, ids), perplexity(theirs, ids), 1e-5)
        checks.finish()


main()
