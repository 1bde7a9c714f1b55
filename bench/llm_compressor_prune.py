"""The peer of `kerf compress --prune`: llm-compressor's SparseGPT and Wanda on the same windows, timed without loading.

    python llm_compressor_prune.py MODEL TEXT WINDOWS CTX sparsegpt|wanda SPARSITY PATTERN OUT

SPARSITY such as 0.5; PATTERN 0:0 or n:m. Windows are cut as kerf cuts them (llm_compressor_gptq.py). Needs PyPI
llmcompressor. Writes a checkpoint for `kerf verify OUT --against MODEL`; prints seconds and the peak resident memory.
"""

import resource
import sys
import time

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from transformers import AutoModelForCausalLM

from llm_compressor_gptq import windows


def main():
    path, text, count, ctx, method, sparsity, pattern, out = sys.argv[1:9]
    count, ctx = int(count), int(ctx)
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    rows = [{"input_ids": w, "attention_mask": [1] * ctx} for w in windows(path, text, count, ctx, model.config.bos_token_id)]
    modifier = {"sparsegpt": SparseGPTModifier, "wanda": WandaPruningModifier}[method]
    # By name: with "Linear" and lm_head ignored, release 0.14 pruned a tied embedding all the same.
    recipe = modifier(sparsity=float(sparsity), mask_structure=pattern, targets=["re:.*_proj$"])
    begin = time.time()
    oneshot(model=model, dataset=Dataset.from_list(rows), recipe=recipe, max_seq_length=ctx, num_calibration_samples=count)
    pruned = time.time()
    model.save_pretrained(out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"prune {pruned - begin:.1f} s, save {time.time() - pruned:.1f} s, peak {peak:.0f} MB resident")


if __name__ == "__main__":
    main()
