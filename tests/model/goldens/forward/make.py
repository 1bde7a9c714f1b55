#!/usr/bin/env python3
"""Reference logits of small random checkpoints, computed by transformers on the CPU.

    python3 make.py            writes one JSON file per variant beside this script

Needs torch and transformers (made with torch 2.15.0 and transformers 5.23.0; config.json in the spelling of that
version, and of version 4 where `old` says so). The weights are not stored: element i of a tensor comes from a counter
(splitmix64 of a hash of the name, plus i), in steps that are exact in double precision, so that the C++ tests make the
same ones. See tests/support/random_checkpoint.h.

Distributions follow what shows mistakes, unlike the library's own initialisation: matrices N(0, 1.5^2 / in), biases
N(0, 0.5^2), norms U(0.5, 1.5). Windows are longer than max_position_embeddings and than the original RoPE context.
"""
import json
import math
import pathlib

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

WINDOWS, LENGTH = 2, 96
POSITIONS = [0, 1, 17, 40, 64, 95]

BASE = dict(
    model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=96, hidden_size=64, intermediate_size=96,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64, hidden_act="silu",
    rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, attention_bias=False, mlp_bias=False,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0))


def old(**scaling):
    """The spelling of transformers 4: rope_theta beside rope_scaling, torch_dtype."""
    return dict(rope_parameters=None, rope_theta=10000.0, rope_scaling=scaling or None, torch_dtype="float32")


LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
VARIANTS = {
    "mha": dict(),
    "gqa_tied": dict(num_key_value_heads=2, tie_word_embeddings=True),
    "mqa": dict(num_key_value_heads=1),
    "theta_and_eps": dict(rms_norm_eps=0.05, rope_parameters=dict(rope_type="default", rope_theta=100.0)),
    "rope_linear": dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    "rope_linear_old": old(type="linear", factor=4.0),
    "rope_llama3": dict(head_dim=32, rope_parameters=dict(rope_type="llama3", rope_theta=500.0, **LLAMA3)),
    "rope_llama3_old": dict(head_dim=32, **old(rope_type="llama3", **LLAMA3)),
    "attention_bias": dict(attention_bias=True, num_key_value_heads=2),
    "mlp_bias": dict(mlp_bias=True),
    "head_dim": dict(head_dim=24, num_key_value_heads=2),
    "all": dict(head_dim=24, num_key_value_heads=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                rope_parameters=dict(rope_type="llama3", rope_theta=500.0, **LLAMA3)),
}

# Of the other families what they have in common stays as above.
QWEN2 = dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], attention_bias=None, mlp_bias=None,
             num_key_value_heads=2, use_sliding_window=False)
QWEN3 = dict(QWEN2, model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=24)
GEMMA3 = dict(model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], mlp_bias=None, hidden_act=None,
              hidden_activation="gelu_pytorch_tanh", head_dim=32, num_key_value_heads=1, num_hidden_layers=7,
              tie_word_embeddings=True, sliding_window=16, query_pre_attn_scalar=20, rope_parameters=None,
              rope_theta=10000.0, rope_local_base_freq=100.0)
SLIDING = dict(use_sliding_window=True, sliding_window=16, max_window_layers=1)
VARIANTS.update({
    "qwen2": dict(QWEN2, tie_word_embeddings=True),
    "qwen2_sliding": dict(QWEN2, **SLIDING),
    "qwen2_yarn": dict(QWEN2, rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0,
                                                   original_max_position_embeddings=32)),
    "qwen3": dict(QWEN3),
    "qwen3_bias_sliding": dict(QWEN3, attention_bias=True, num_hidden_layers=3, **dict(SLIDING, max_window_layers=2)),
    "gemma3": dict(GEMMA3),
    "gemma3_linear": dict(GEMMA3, num_hidden_layers=3, num_key_value_heads=2, rms_norm_eps=0.05,
                          layer_types=["full_attention", "sliding_attention", "full_attention"],
                          rope_scaling=dict(rope_type="linear", factor=8.0)),
    "gemma3_cap": dict(GEMMA3, num_hidden_layers=2, tie_word_embeddings=False, attention_bias=True,
                       sliding_window_pattern=2, final_logit_softcapping=3.0),
})
WITH_BF16 = ("gqa_tied", "all", "qwen2", "qwen3")

MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def splitmix64(counter):
    with np.errstate(over="ignore"):
        z = counter + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def tensor(name, shape):
    n = math.prod(shape)
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(fnv1a(name)) + np.arange(n, dtype=np.uint64))
    if len(shape) == 1 and name.endswith(".weight"):
        values = 0.5 + (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    else:
        # The sum of four uniform 16-bit numbers: nearly normal, mean 131070, deviation 65536 / sqrt(3) = 37837.2.
        total = sum(((bits >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.float64) for k in range(4))
        deviation = 0.5 if len(shape) == 1 else 1.5 / math.sqrt(shape[1])
        values = (total - 131070.0) * (deviation / 37837.0)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def main():
    here = pathlib.Path(__file__).parent
    ids = splitmix64(np.arange(WINDOWS * LENGTH, dtype=np.uint64)) % np.uint64(BASE["vocab_size"])
    ids = torch.from_numpy(ids.astype(np.int64).reshape(WINDOWS, LENGTH))
    for name, changes in VARIANTS.items():
        config = {k: v for k, v in {**BASE, **changes}.items() if v is not None}
        kind = dict(config)
        parsed = AutoConfig.for_model(kind.pop("model_type"), **kind)
        model = AutoModelForCausalLM.from_config(parsed).eval()
        plus = 1.0 if config["model_type"].startswith("gemma") else 0.0  # its norms act as 1 + w
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                value = tensor(key, tuple(parameter.shape))
                norm = len(parameter.shape) == 1 and key.endswith(".weight")
                parameter.copy_(value - plus if norm else value)
            logits = model(ids).logits[:, POSITIONS]
            # As from_pretrained(dtype=bfloat16) does: weights in bf16, the rotation frequencies stay float32.
            for parameter in model.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)
            half = model(ids).logits[:, POSITIONS].float()
        # Seven digits are a thousandth of the tolerance.
        golden = dict(config=config, windows=WINDOWS, length=LENGTH, positions=POSITIONS,
                      logits=[float(f"{x:.7g}") for x in logits.flatten().tolist()])
        if name in WITH_BF16:
            golden["logits_bf16"] = half.flatten().tolist()
        text = json.dumps(golden, separators=(",", ":")).replace('"logits', '\n"logits')
        (here / f"{name}.json").write_text(text + "\n")
        print(name, f"max |logit| {logits.abs().max():.3f}, bf16 moves it by {(half - logits).abs().max():.3f}")


if __name__ == "__main__":
    main()
