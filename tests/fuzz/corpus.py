#!/usr/bin/env python3
"""Writes the seeds of the fuzzers: corpus.py FOLDER makes FOLDER/<reader>/..., one small valid input a file.

Inputs come from the goldens beside it and are otherwise made here; nothing but Python is needed.
"""
import json
import pathlib
import struct
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
CUT = b"\n----\n"


def goldens(name):
    return json.loads((TESTS / "model/goldens" / name).read_text(encoding="utf-8"))


def safetensors(tensors):
    header, data = {}, b""
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(i * 37 % 251 for i in range(size)) if dtype != "I64" else struct.pack("<2q", *SHAPES[name])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


SHAPES = {}
HIDDEN, FFN, VOCAB = 32, 64, 8
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
          "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
          "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": True,
          "torch_dtype": "float16"}
LINEAR = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN, HIDDEN),
          "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN),
          "mlp.down_proj": (HIDDEN, FFN)}


def model(linear):
    tensors = {"model.embed_tokens.weight": ("F16", [VOCAB, HIDDEN], 2 * VOCAB * HIDDEN),
               "model.norm.weight": ("F16", [HIDDEN], 2 * HIDDEN)}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"model.layers.0.{norm}.weight"] = ("F16", [HIDDEN], 2 * HIDDEN)
    for name, (out, into) in LINEAR.items():
        for part, (dtype, shape, size) in linear(out, into).items():
            tensors[f"model.layers.0.{name}.{part}"] = (dtype, shape, size)
            SHAPES[f"model.layers.0.{name}.{part}"] = (out, into)
    return safetensors(tensors)


def plain(o, i):
    return {"weight": ("F16", [o, i], 2 * o * i)}


def ct_pack(o, i):
    return {"weight_packed": ("I32", [o, i // 8], o * i // 2), "weight_scale": ("F16", [o, i // 32], o * i // 16),
            "weight_shape": ("I64", [2], 16)}


def ct_pack_zeros(o, i):
    return {**ct_pack(o, i), "weight_zero_point": ("I32", [o // 8, i // 32], o // 8 * (i // 32) * 4)}


def ct_int(o, i):
    return {"weight": ("I8", [o, i], o * i), "weight_scale": ("F16", [o, 1], 2 * o)}


def ct_fp8(o, i):
    return {"weight": ("F8_E4M3", [o, i], o * i), "weight_scale": ("F16", [1], 2)}


def gptq(o, i):
    return {"qweight": ("I32", [i // 8, o], i * o // 2), "qzeros": ("I32", [i // 32, o // 8], i // 32 * (o // 8) * 4),
            "scales": ("F16", [i // 32, o], i // 32 * o * 2), "g_idx": ("I32", [i], 4 * i)}


def awq(o, i):
    return {"qweight": ("I32", [i, o // 8], i * o // 2), "qzeros": ("I32", [i // 32, o // 8], i // 32 * (o // 8) * 4),
            "scales": ("F16", [i // 32, o], i // 32 * o * 2)}


def compressed(kind, weights, inputs=None):
    return {"quant_method": "compressed-tensors", "format": kind, "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}}}


def token(kind):
    return {"num_bits": 8, "type": kind, "symmetric": True, "dynamic": True, "strategy": "token"}


def repositories():
    group = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
    yield "plain", None, plain
    yield "ct_pack", compressed("pack-quantized", group), ct_pack
    yield "ct_pack_zeros", compressed("pack-quantized", {**group, "symmetric": False}), ct_pack_zeros
    yield "ct_int", compressed("int-quantized", {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
                               token("int")), ct_int
    yield "ct_fp8", compressed("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True,
                                                   "strategy": "tensor"}, token("float")), ct_fp8
    yield "gptq", {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False,
                   "checkpoint_format": "gptq"}, gptq
    yield "awq", {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}, awq


def string(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def key(name, kind, value):
    return string(name) + struct.pack("<I", kind) + value


def strings(values):
    return struct.pack("<IQ", 8, len(values)) + b"".join(string(v) for v in values)


def gguf(keys, tensors):
    infos, data = b"", b""
    for name, (shape, kind, size) in tensors.items():
        infos += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += bytes(i * 37 % 251 for i in range(size)) + bytes(-size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % 32) + data


U32, F32, I32, STRING, ARRAY = 4, 6, 5, 8, 9
# type: id, weights and bytes of a block
BLOCKS = {"q4_0": (2, 32, 18), "q8_0": (8, 32, 34), "q5_1": (7, 32, 24), "iq4_nl": (20, 32, 18), "mxfp4": (39, 32, 17),
          "q4_k": (12, 256, 144), "q6_k": (14, 256, 210), "iq2_xxs": (16, 256, 66), "iq3_s": (21, 256, 110),
          "iq1_m": (29, 256, 56), "tq1_0": (34, 256, 54)}


def gguf_model(kind):
    number, weights, size = BLOCKS[kind]
    hidden, ffn = max(weights, 32), 2 * max(weights, 32)
    u = lambda name, v: key(name, U32, struct.pack("<I", v))
    f = lambda name, v: key(name, F32, struct.pack("<f", v))
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "\u2581", "ab", "<0x0A>"]
    keys = [key("general.architecture", STRING, string("llama")), u("llama.block_count", 1),
            u("llama.context_length", 64), u("llama.embedding_length", hidden), u("llama.feed_forward_length", ffn),
            u("llama.attention.head_count", 2), u("llama.attention.head_count_kv", 2), u("llama.vocab_size", len(tokens)),
            u("llama.rope.dimension_count", hidden // 2), f("llama.attention.layer_norm_rms_epsilon", 1e-5),
            key("tokenizer.ggml.model", STRING, string("llama")), key("tokenizer.ggml.pre", STRING, string("default")),
            key("tokenizer.ggml.tokens", ARRAY, strings(tokens)),
            key("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ", F32, len(tokens)) + struct.pack("<8f", *range(8))),
            key("tokenizer.ggml.token_type", ARRAY,
                struct.pack("<IQ", I32, len(tokens)) + struct.pack("<8i", 2, 3, 3, 1, 1, 1, 1, 6)),
            u("tokenizer.ggml.bos_token_id", 1), u("tokenizer.ggml.eos_token_id", 2)]
    tensors = {"token_embd.weight": ([len(tokens), hidden], number, len(tokens) * hidden // weights * size),
               "output_norm.weight": ([hidden], 0, 4 * hidden)}
    shapes = {"attn_q": (hidden, hidden), "attn_k": (hidden, hidden), "attn_v": (hidden, hidden),
              "attn_output": (hidden, hidden), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn)}
    for name, (o, i) in shapes.items():
        tensors[f"blk.0.{name}.weight"] = ([o, i], number, o * i // weights * size)
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.0.{name}.weight"] = ([hidden], 0, 4 * hidden)
    return gguf(keys, tensors)


def imatrices():
    sums = struct.pack("<4f", 1, 2, 0, 4)
    entry = struct.pack("<i", 6) + b"blk.0." + struct.pack("<ii", 2, 4) + sums
    yield "legacy", struct.pack("<i", 1) + entry + struct.pack("<ii", 2, 4) + b"text"
    keys = [key("general.type", STRING, string("imatrix")), key("imatrix.datasets", ARRAY, strings(["text"])),
            key("imatrix.chunk_count", U32, struct.pack("<I", 2)), key("imatrix.chunk_size", U32, struct.pack("<I", 8))]
    yield "gguf", gguf(keys, {"blk.0.attn_q.weight.in_sum2": ([1, 4], 0, 16), "blk.0.attn_q.weight.counts": ([1, 1], 0, 4)})


RECIPES = {
    "plain": "targets: [llama.cpp-cpu:Q4_0, vllm:w4a16-g32]\nmethod: gptq\ncalib:\n  text: c.jsonl\n  windows: 64\n",
    "overrides": "targets: vllm:w4a16-g32\noverrides:\n  - sites: 'layers\\.0\\..*'\n    scheme: w8a16-g32\n"
                 "  - {sites: [attn_v, ffn_down], method: rtn}\ngate: kl<0.2,top1>0.8\n",
    "size": "targets: llama.cpp-cpu\nbytes: 90MB\neval: {text: held.txt, ctx: 256, windows: 10, skip_tokens: 5}\n",
    "flow": "{targets: ['awq:w4-g32'], gptq: {damping: 0.02, refine: 3}, asymmetric: on}\n",
    "report": json.dumps({"kerf": "0.1.0", "model": "m", "recipe": {"targets": ["vllm:w4a16-g32"]}, "passed": True}),
}


def seeds():
    for name, quantization, linear in repositories():
        config = {**CONFIG, **({"quantization_config": quantization} if quantization else {})}
        yield "repository", name, json.dumps(config).encode() + CUT + model(linear)
        yield "safetensors", name, model(linear)
        yield "config", "quantized_" + name, json.dumps(config).encode()
    yield "safetensors", "index", json.dumps(
        {"metadata": {"total_size": 1}, "weight_map": {"a": "m-00001-of-00002.safetensors"}}).encode()
    for file in sorted((TESTS / "model/goldens/forward").glob("*.json")):
        yield "config", file.stem, json.dumps(json.loads(file.read_text())["config"]).encode()
    for kind in BLOCKS:
        yield "gguf", kind, gguf_model(kind)
    for name, content in imatrices():
        yield "imatrix", name, content
    for name, content in RECIPES.items():
        yield "recipe", name, content.encode()
    small = goldens("tokenizer/small.json")
    yield "tokenizer", "base", json.dumps(small["base"]).encode()
    for i, variant in enumerate(small["variants"]):
        changed = {**small["base"], **variant["change"], "model": {**small["base"]["model"], **variant["model"]}}
        yield "tokenizer", f"variant_{i}", json.dumps(changed).encode()
    constructs, chats = goldens("chat/constructs.json"), goldens("chat/chats.json")
    messages = json.dumps(constructs["messages"]).encode()
    for i, case in enumerate(constructs["render"]):
        yield "chat_template", f"construct_{i}", case["template"].encode() + CUT + messages
    for name, template in chats["templates"].items():
        yield "chat_template", name, template.encode() + CUT + messages


def main():
    folder = pathlib.Path(sys.argv[1])
    for reader, name, content in seeds():
        path = folder / reader / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


main()
