#!/usr/bin/env python3
"""Reference gradients of small random models, computed by PyTorch on the CPU in float64.

    python3 make.py            writes gradients.json beside this script

Models, weights and tokens are those of tests/model/goldens/forward/make.py. The loss is the mean cross-entropy of the
next token over all positions of all windows but the last ones. Of each weight's gradient the file has the Euclidean norm
and the elements at multiples of a seventh of its size. Made with torch 2.15.0 and transformers 5.23.0.
"""
import importlib.util
import json
import pathlib

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("forward", HERE.parents[1] / "model" / "goldens" / "forward" / "make.py")
forward = importlib.util.module_from_spec(spec)
spec.loader.exec_module(forward)

VARIANTS = ["mha", "all", "qwen2", "qwen3", "gemma3", "gemma3_cap"]


def main():
    ids = forward.splitmix64(np.arange(forward.WINDOWS * forward.LENGTH, dtype=np.uint64)) % np.uint64(96)
    ids = torch.from_numpy(ids.astype(np.int64).reshape(forward.WINDOWS, forward.LENGTH))
    result = {}
    for name in VARIANTS:
        config = {k: v for k, v in {**forward.BASE, **forward.VARIANTS[name]}.items() if v is not None}
        kind = dict(config)
        parsed = AutoConfig.for_model(kind.pop("model_type"), **kind)
        model = AutoModelForCausalLM.from_config(parsed).eval()
        model.get_input_embeddings().padding_idx = None  # for which PyTorch leaves the gradient out
        plus = 1.0 if config["model_type"].startswith("gemma") else 0.0
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                values = forward.tensor(key, tuple(parameter.shape))
                if plus and "norm" in key:
                    values = values - plus
                parameter.copy_(values)
        model = model.double()
        logits = model(ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        weights = {}
        for key, parameter in model.named_parameters():
            flat = parameter.grad.reshape(-1)
            at = [flat.numel() * i // 7 for i in range(7)]
            weights[key] = {"norm": float(f"{flat.norm().item():.7g}"), "values": [float(f"{flat[i].item():.7g}") for i in at]}
        result[name] = {"config": config, "loss": loss.item(), "weights": weights}
    (HERE / "gradients.json").write_text(json.dumps(result, separators=(",", ":")).replace("\"config", "\n\"config").replace("\"weights", "\n\"weights") + "\n")


main()
