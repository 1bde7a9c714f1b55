"""The peer of `kerf compress --method gptq`: llm-compressor's GPTQ on the same windows, timed without loading.

    python llm_compressor_gptq.py MODEL TEXT WINDOWS CTX BITS GROUP OUT

Windows are cut as kerf cuts them: BOS and the next CTX - 1 ids of the text without special tokens (CTX ids for a model
without BOS). Needs PyPI llmcompressor. Prints seconds to quantize and save, and the peak resident memory.
"""

import resource
import sys
import time

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer


def windows(path, text, count, ctx, bos):
    ids = AutoTokenizer.from_pretrained(path)(open(text, encoding="utf-8").read(), add_special_tokens=False)["input_ids"]
    step = ctx - 1 if bos is not None else ctx
    head = [bos] if bos is not None else []
    return [head + ids[i * step : (i + 1) * step] for i in range(count)]


def main():
    path, text, count, ctx, bits, group, out = sys.argv[1:8]
    count, ctx = int(count), int(ctx)
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    rows = [{"input_ids": w, "attention_mask": [1] * ctx} for w in windows(path, text, count, ctx, model.config.bos_token_id)]
    weights = dict(num_bits=int(bits), type="int", symmetric=True, strategy="group", group_size=int(group))
    recipe = GPTQModifier(ignore=["lm_head"], config_groups={"all": {"targets": ["Linear"], "weights": weights}})
    begin = time.time()
    oneshot(model=model, dataset=Dataset.from_list(rows), recipe=recipe, max_seq_length=ctx, num_calibration_samples=count)
    quantized = time.time()
    model.save_pretrained(out, save_compressed=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"quantize {quantized - begin:.1f} s, save {time.time() - quantized:.1f} s, peak {peak:.0f} MB resident")


if __name__ == "__main__":
    main()
