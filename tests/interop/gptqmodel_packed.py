#!/usr/bin/env python3
"""transformers with gptqmodel runs the GPTQ or AWQ folder that kerf packed, on the CPU, on the same tokens.

  gptqmodel_packed.py --kerf KERF --model MODEL --target transformers-gptq:w4-g32 --text FILE [--windows N] [--skip-tokens N]
      [--method NAME --calib TEXT] [--distill lora]

The folder loads as it is. Every matrix of the blocks is a quantized module, and where gptqmodel can decode it again (some
CPU kernels rearrange the words when they load), it decodes to the weights that kerf reads, bit for bit. KL to the
reference within 2 % of kerf's prediction, perplexity within 0.2 % (in bfloat16 the order of sums alone moved it by
0.098 % over 8 windows of tinytales).
"""
import os
import sys

# gptqmodel does not start on two cores without the first; compiling each matrix's decoding takes minutes.
os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
os.environ["TORCHDYNAMO_DISABLE"] = "1"

import json

import numpy as np

from interop import ORDER_KL, Checks, Setting, mean_kl, perplexity, workplace
from pytorch_reference import log_probabilities

sys.path.pop(0)  # gptqmodel looks for a package llama_cpp, which is the name of a test here


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
        runtime, loaded, _ = log_probabilities(out, ids, adapter=adapter[1] if adapter else None)

        checks = Checks()
        quantized = {name: m for name, m in loaded.named_modules() if getattr(m, "qweight", None) is not None}
        kinds = sorted({type(m).__name__ for m in quantized.values()})
        checks.that(len(quantized) == 7 * config["num_hidden_layers"], f"{len(quantized)} modules loaded as {kinds}")
        dtype = str(loaded.dtype).removeprefix("torch.")
        said = json.loads((out / "config.json").read_text(encoding="utf-8"))
        stated = said.get("dtype", said.get("torch_dtype"))
        checks.that(dtype == stated, f"loaded as {dtype}")
        if kinds == ["TorchLinear"]:
            apart = 0
            for name, module in quantized.items():
                own = name.removeprefix("base_model.model.").removesuffix(".base_layer")  # of PEFT's
                kerf("inspect", out, "--tensor", own + ".weight", "--npy", work / "weight.npy")
                theirs = module.dequantize_weight().T.to(loaded.dtype).float().numpy()
                apart += not np.array_equal(np.load(work / "weight.npy"), theirs)
            checks.that(apart == 0, f"{apart} of {len(quantized)} matrices decode to other weights")
        kl = mean_kl(reference, runtime)
        checks.close("mean KL to the reference", predicted["kl_mean"], kl, 0.02)
        checks.close("perplexity", predicted["ppl"], perplexity(runtime, ids), 0.002)
        agree = mean_kl(packed, runtime)
        limit = max(kl / 10, ORDER_KL)
        checks.that(agree <= limit, f"mean KL(kerf || transformers) {agree:.3e} (limit {limit:.3e})")
        checks.finish()


main()
