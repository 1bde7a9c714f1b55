"""Small checkpoints with random weights and real tokenizers, of the families that no small real model is at hand of.

Weights are drawn so that a wrong step shows (matrices N(0, 1.5^2 / in), norms U(0.5, 1.5), biases N(0, 0.5^2)) and the
logits have a standard deviation of about 1: neither a model that knows nothing nor one that is sure of everything.
Widths are multiples of 256, as K-quants want them. Needs numpy only.
"""
import json
import shutil

import numpy as np

COMMON = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
}
# QKV bias and a tied head; norms of queries and keys and a head of its own; four norms, windows, and scaled positions on
# the one layer that sees everything.
FAMILIES = {
    "qwen2": ("qwen2.5", COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "num_hidden_layers": 3,
        "rope_theta": 1000000.0, "tie_word_embeddings": True, "bos_token_id": 151643, "eos_token_id": 151645,
        "hidden_act": "silu", "use_sliding_window": False}),
    "qwen3": ("qwen3", COMMON | {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "num_hidden_layers": 3,
        "head_dim": 128, "rope_theta": 1000000.0, "tie_word_embeddings": False, "bos_token_id": 151643,
        "eos_token_id": 151645, "hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}),
    "gemma3": ("gemma3", COMMON | {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": 262144,
        "num_hidden_layers": 7, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 256,
        "query_pre_attn_scalar": 256, "sliding_window": 64, "sliding_window_pattern": 6, "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}),
}


def tensors(family, config):
    """(name, shape) of every tensor, in the order of the file."""
    hidden, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        norms = ["input_layernorm", "post_attention_layernorm"]
        if family == "gemma3":
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for name in norms:
            yield f"{at}{name}.weight", (hidden,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{at}self_attn.{name}_proj.weight", (rows, hidden)
            if family == "qwen2":
                yield f"{at}self_attn.{name}_proj.bias", (rows,)
        if family != "qwen2":
            for name in ("q_norm", "k_norm"):
                yield f"{at}self_attn.{name}.weight", (head,)
        yield f"{at}self_attn.o_proj.weight", (hidden, q)
        for name in ("gate", "up"):
            yield f"{at}mlp.{name}_proj.weight", (ffn, hidden)
        yield f"{at}mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (vocab, hidden)


def draw(rng, family, name, shape):
    gemma = family == "gemma3"
    if name.endswith("bias"):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.5)
    if len(shape) == 1:  # Gemma's act as 1 + w
        low, high = (1.5, 4.5) if gemma and name == "model.norm.weight" else (0.5, 1.5)
        return rng.uniform(low, high, shape).astype(np.float32) - np.float32(gemma)
    scale = 1.5 / shape[1] ** 0.5
    if "embed" in name or "lm_head" in name:  # Gemma's are scaled by 16 on their way in
        scale = 0.02 if gemma else 0.0625
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def to_bfloat16(values):
    """Nearest bfloat16, ties to even, as 16-bit words."""
    bits = values.view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def write(family, dtype, folder, tokenizers):
    """A folder as on the hub. `dtype`: bfloat16 or float32; `tokenizers`: the folder of real ones."""
    tokenizer, config = FAMILIES[family]
    folder.mkdir(parents=True)
    width = 2 if dtype == "bfloat16" else 4
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(family, config):
        begin, end = end, end + width * int(np.prod(shape))
        header[name] = {"dtype": "BF16" if width == 2 else "F32", "shape": shape, "data_offsets": [begin, end]}
    rng = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as file:
        text = json.dumps(header).encode()
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(family, config):
            values = draw(rng, family, name, shape)
            file.write((to_bfloat16(values) if width == 2 else values).tobytes())
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": dtype}, indent=2), encoding="utf-8")
    for file in (tokenizers / tokenizer).iterdir():
        if file.suffix == ".json":
            shutil.copy(file, folder)
