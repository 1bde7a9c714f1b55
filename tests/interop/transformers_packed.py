#!/usr/bin/env python3
"""transformers with compressed-tensors runs the folder that kerf packed for vLLM, on the CPU, on the same tokens.

  transformers_packed.py --kerf KERF --model MODEL --target vllm:w4a16-g32 --text FILE [--windows N] [--skip-tokens N]
      [--method NAME --calib TEXT] [--dtype NAME] [--distill lora]

The folder loads as it is, with the dtype it states (that of a float32 model is float16 or bfloat16, as kerf chooses, or what
--dtype says). In float32 every log-probability agrees with kerf's own within
float32 tolerance. In bfloat16 and float16 kerf rounds where transformers rounds, but the order of summation differs between
machines' matrix products, and a last bit of bfloat16 is 0.4 %; so the bound is on the mean KL(kerf || transformers), a
tenth of what packing costs, or what the order alone makes of it. For both, KL to the reference within 2 % of kerf's prediction, perplexity within 0.1 %.

With activations of 8 bits (w8a8, fp8) a last-bit difference in a sum moves some of them to the next code, and two runs by
the same rule differ by a good part of what the rounding costs (docs/decisions.md, 5); that the rule is the same, bit for
bit, is tested in tests/kernels/w8_golden_test.cc. So: KL(kerf || transformers) below the KL to the reference, perplexity
within 0.5 %, and windows enough for the 2 % (with 8 of them the two means are some 2 % apart by chance, with 60 0.8 %).
"""

import json
import sys

import numpy as np
from transformers import CompressedTensorsConfig

from interop import ORDER_KL, Checks, Setting, mean_kl, perplexity, workplace
from pytorch_reference import log_probabilities

sys.path.pop(0)  # PEFT looks for a package llama_cpp, which is the name of a test here


def main():
    setting = Setting("model", "target", "text")
    options, kerf, config = setting.options, setting.kerf, setting.config

    with workplace() as work:
        out = work / "packed"
        report = setting.compress(options.target, out)
        predicted = report["metrics"]
        reference = setting.log_probabilities(setting.model, work / "reference.npy")
        adapter = setting.adapter_options(out)
        packed = setting.log_probabilities(out, work / "packed.npy", *adapter)
        ids = setting.ids()
        # transformers sets up packed modules by compressing an empty model, and there compressed-tensors 0.20.0 forgets
        # to pack zero points, so that asymmetric matrices load only when they are dequantized on the way.
        # And PEFT 0.21.2 puts adapters beside matrices with a weight, which packed modules have none of.
        dequantize = options.target.endswith("-asym") or bool(adapter)
        loading = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
        runtime, loaded, largest_logit = log_probabilities(out, ids, adapter=adapter[1] if adapter else None, **loading)

        checks = Checks()
        if adapter:
            checks.that(sum(name.endswith(".lora_A") for name, _ in loaded.named_modules()) == 7 * config["num_hidden_layers"],
                        "PEFT has put the adapter beside every matrix of the blocks")
        quantized = [name for name, module in loaded.named_modules() if hasattr(module, "quantization_scheme")]
        wanted = 0 if dequantize else 7 * config["num_hidden_layers"]
        checks.that(len(quantized) == wanted, f"{len(quantized)} quantized modules loaded")
        dtype = str(loaded.dtype).removeprefix("torch.")
        said = json.loads((out / "config.json").read_text(encoding="utf-8"))
        stated = said.get("dtype", said.get("torch_dtype"))
        checks.that(dtype == stated, f"loaded as {dtype}, the dtype that the folder states")
        if options.dtype:
            checks.that(dtype == options.dtype, "which is what was asked for")
        else:
            checks.that(dtype != "float32", "which runtimes compute in")
        kl = mean_kl(reference, runtime)
        checks.close("mean KL to the reference", predicted["kl_mean"], kl, 0.02)
        rounded = options.target.split(":")[1].startswith(("w8a8", "fp8"))
        checks.close("perplexity", predicted["ppl"], perplexity(runtime, ids), 0.005 if rounded else 0.001)
        if rounded:
            checks.that("measured" in report["arithmetic"], report["arithmetic"])
            alternative = report["alternative_arithmetic"]
            checks.that("from source" in alternative["arithmetic"],
                        f"by {alternative['arithmetic']}: KL {alternative['metrics']['kl_mean']:.6g}")
        if dtype == "float32" and not rounded:
            largest = max(float(np.abs(a - b).max()) for a, b in zip(packed, runtime))
            limit = 1e-4 * largest_logit
            checks.that(largest <= limit, f"log-probabilities apart by at most {largest:.2e} (limit {limit:.2e})")
        agree = mean_kl(packed, runtime)
        limit = kl if rounded else max(kl / 10, 0 if dtype == "float32" else ORDER_KL)
        checks.that(agree <= limit, f"mean KL(kerf || transformers) {agree:.3e} (limit {limit:.3e})")
        checks.finish()


main()
