#!/usr/bin/env python3
"""GGUF files by another hand (the gguf package) as sources of kerf, and the keys by which llama.cpp scales rotations.

  gguf_sources.py --kerf KERF --model MODEL --text FILE [--windows N]

MODEL, of the Llama family, is rounded to float16 and written as a checkpoint and as an F16 GGUF. Then
(a) what kerf makes of the GGUF has the tensors of what it makes of the checkpoint, byte by byte, and its keys;
(b) llama.cpp computes with the result what kerf says it does;
(c) so it does with F16 files whose rotations are scaled by old and new keys, and by keys that it does not read.
Flash attention is off; batches of one window; two threads.
"""
import json
import shutil

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from interop import FLOAT32_KL, Checks, Setting, llama_cpp, mean_kl, perplexity, workplace

SCHEMES = ("Q4_0", "Q4_K_M")
SCALING = "llama.rope.scaling."
# What each file says of its rotations, and whether it then turns otherwise than without.
ROTATIONS = {
    "scale_linear": ({"llama.rope.scale_linear": 4.0}, True),
    "a factor without a type": ({SCALING + "factor": 4.0}, True),
    "both factors": ({SCALING + "factor": 2.0, "llama.rope.scale_linear": 4.0}, True),
    "no scaling": ({SCALING + "type": "none", "llama.rope.scale_linear": 4.0}, False),
    "YaRN with scale_linear": (
        {SCALING + "type": "yarn", "llama.rope.scale_linear": 4.0, SCALING + "original_context_length": 64}, True),
    "YaRN with slopes that are not read": (
        {SCALING + "type": "yarn", SCALING + "factor": 4.0, SCALING + "original_context_length": 64,
         SCALING + "yarn_beta_slow": 0.01, SCALING + "yarn_beta_fast": 4.0}, True),
    "YaRN with a magnitude": (
        {SCALING + "type": "yarn", SCALING + "factor": 4.0, SCALING + "original_context_length": 64,
         SCALING + "attn_factor": 1.5}, True),
    "rope_freqs.weight and a factor": ({SCALING + "factor": 2.0}, True),
}

# Of YaRN the last bits of the rotations differ: 2.8e-7, and 8.3e-7 with a magnitude of 1.5, were measured.
YARN_KL = 2e-6

ROLES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def rounded_checkpoint(model, config, folder):
    """The model in float16, and its tensors."""
    folder.mkdir()
    tensors = {}
    with safe_open(model / "model.safetensors", "np") as file:
        for name in file.keys():
            try:
                values = file.get_tensor(name)
            except TypeError:  # bfloat16
                values = None
            tensors[name] = values
    if any(v is None for v in tensors.values()):
        tensors = bfloat16_tensors(model / "model.safetensors")
    tensors = {name: values.astype(np.float16) for name, values in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {k: v for k, v in config.items() if k != "torch_dtype"} | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for file in model.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    return tensors


def bfloat16_tensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        words = np.frombuffer(data[8 + size + begin : 8 + size + end], "<u2").astype("<u4") << 16
        tensors[name] = words.view("<f4").reshape(info["shape"])
    return tensors


def gguf_tensors(tensors, config):
    """As llama.cpp's converter names and orders them: pairs of queries and keys side by side, vectors in float32."""
    for name, values in tensors.items():
        if name == "model.embed_tokens.weight":
            yield "token_embd.weight", values
        elif name == "lm_head.weight":
            yield "output.weight", values
        elif name == "model.norm.weight":
            yield "output_norm.weight", values.astype(np.float32)
        else:
            _, _, layer, role = name.removesuffix(".weight").split(".", 3)
            if values.ndim == 1:
                values = values.astype(np.float32)
            heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(role)
            if heads:
                n = config[heads]
                values = values.reshape(n, 2, values.shape[0] // n // 2, -1).swapaxes(1, 2).reshape(values.shape)
            yield f"blk.{layer}.{ROLES[role]}.weight", values


def write_gguf(file, metadata_of, tensors, config, more):
    """An F16 GGUF with the tokenizer of another file."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for key, field in gguf.GGUFReader(metadata_of).fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, sub_type=inner)
    for key, value in more.items():
        kinds = {float: gguf.GGUFValueType.FLOAT32, int: gguf.GGUFValueType.UINT32, str: gguf.GGUFValueType.STRING}
        writer.add_key_value(key, value, kinds[type(value)])
    for name, values in tensors:
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def contents(file):
    reader = gguf.GGUFReader(file)
    tensors = {t.name: (t.tensor_type, t.data.tobytes()) for t in reader.tensors}
    keys = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.") and k != "general.name"}
    return tensors, keys


def main():
    setting = Setting("model", "text", windows=2)
    kerf, config, checks = setting.kerf, setting.config, Checks()
    ids = setting.ids()

    def compare_with_llama_cpp(file, what, work):
        mine = setting.log_probabilities(file, work / "mine.npy")
        job = {"model": str(file), "windows": ids, "vocabulary": config["vocab_size"]}
        _, theirs = llama_cpp(job, work / "theirs.npy", work)
        agree = mean_kl(mine, theirs)
        limit = YARN_KL if what.startswith("YaRN") else FLOAT32_KL
        checks.that(agree <= limit, f"{what}: mean KL(kerf || llama.cpp) {agree:.3e}")
        return perplexity(theirs, ids)

    with workplace() as work:
        tensors = rounded_checkpoint(setting.model, config, work / "float16")
        for scheme in SCHEMES:
            kerf("compress", work / "float16", "--target", f"llama.cpp-cpu:{scheme}", "-o", work / scheme)
        (other,) = (work / SCHEMES[0]).glob("*.gguf")
        as_gguf = list(gguf_tensors(tensors, config))
        source = work / "by-others-F16.gguf"
        write_gguf(source, other, as_gguf, config, {})
        for scheme in SCHEMES:
            kerf("compress", source, "--target", f"llama.cpp-cpu:{scheme}", "-o", work / f"of-gguf-{scheme}")
            (mine,), (theirs,) = ((work / folder).glob("*.gguf") for folder in (f"of-gguf-{scheme}", scheme))
            (tensors_mine, keys_mine), (tensors_theirs, keys_theirs) = contents(mine), contents(theirs)
            checks.that(tensors_mine == tensors_theirs, f"{scheme}: {len(tensors_mine)} tensors of the same bytes")
            differ = [k for k in keys_mine.keys() | keys_theirs.keys() if keys_mine.get(k) != keys_theirs.get(k)]
            checks.that(not differ, f"{scheme}: {len(keys_mine)} keys with the same values {differ or ''}")
            compare_with_llama_cpp(mine, f"{scheme} of the GGUF", work)

        plain = compare_with_llama_cpp(source, "F16", work)
        for what, (keys, turns) in ROTATIONS.items():
            file = work / "rotations.gguf"
            file.unlink(missing_ok=True)
            more = list(as_gguf)
            if what.startswith("rope_freqs"):
                pairs = config["hidden_size"] // config["num_attention_heads"] // 2
                more.append(("rope_freqs.weight", np.linspace(1, 8, pairs, dtype=np.float32)))
            write_gguf(file, other, more, config, keys)
            ppl = compare_with_llama_cpp(file, what, work)
            checks.that((abs(ppl / plain - 1) > 1e-4) == turns, f"{what}: perplexity {ppl:.4f}, without {plain:.4f}")
        checks.finish()


main()
