#!/usr/bin/env python3
"""Special tokens that stand beside tokenizer.json, and ends of a text that generation_config.json and config.json name:
llama.cpp cuts the same ids out of kerf's GGUF file and stops at every end.

  llama_cpp_specials.py --kerf KERF

The checkpoint is made here: two blocks with random weights, the 256 letters of bytes, and rows without a token.
"""
import argparse
import json

import numpy as np
from safetensors.numpy import save_file

from interop import Checks, Kerf, llama_cpp, workplace

HIDDEN, FFN, HEADS, LAYERS, ROWS = 64, 128, 4, 2, 288
TEXT = "<|begin|>user\nhi there<|turn_end|>\n<tool>x</tool> <|last|><|third|> end"


def byte_letters():
    """GPT-2's letter of every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def write_checkpoint(folder, ends):
    folder.mkdir()
    letters = ["<|endoftext|>", *byte_letters()]
    first = len(letters)
    beside = ["<|begin|>", "<|turn_end|>", "<tool>", "</tool>", "<|last|>", "<|third|>"]
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    files = {
        "tokenizer.json": {
            "version": "1.0", "normalizer": None, "post_processor": None, "pre_tokenizer": byte_level, "decoder": byte_level,
            "added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": True, **flags}],
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(letters)}, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
            "added_tokens_decoder": {
                str(first + i): {"content": t, "special": t.startswith("<|"), **flags} for i, t in enumerate(beside)},
        },
        "generation_config.json": {"eos_token_id": [0, *(first + beside.index(e) for e in ends)]},
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "num_hidden_layers": LAYERS, "vocab_size": ROWS,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 256, "hidden_act": "silu",
            "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": ROWS - 1, "dtype": "float32",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    random = np.random.default_rng(1)
    tensors = {"model.embed_tokens.weight": (ROWS, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        for name, shape in (("input_layernorm", (HIDDEN,)), ("post_attention_layernorm", (HIDDEN,)),
                            *((f"self_attn.{p}_proj", (HIDDEN, HIDDEN)) for p in "qkvo"), ("mlp.gate_proj", (FFN, HIDDEN)),
                            ("mlp.up_proj", (FFN, HIDDEN)), ("mlp.down_proj", (HIDDEN, FFN))):
            tensors[f"model.layers.{i}.{name}.weight"] = shape
    save_file({n: np.ones(s, np.float32) if len(s) == 1 else random.normal(0, 0.1, s).astype(np.float32)
               for n, s in tensors.items()}, folder / "model.safetensors")
    return {t: first + i for i, t in enumerate(beside)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kerf", required=True)
    kerf, checks = Kerf(parser.parse_args().kerf), Checks()
    with workplace() as work:
        text = work / "text"
        text.write_text(TEXT, encoding="utf-8")
        # Ends beside eos with one key each in GGUF, one more than there are keys, and one that llama.cpp knows by its text.
        for name, ends, stopped in (("two", ["<|turn_end|>", "<|last|>"], 2), ("three", ["<|turn_end|>", "<|last|>", "<|third|>"], 2)):
            ids = write_checkpoint(work / name, ends)
            kerf("compress", work / name, "--target", "llama.cpp-cpu:Q8_0", "-o", work / f"{name}.out")
            (gguf,) = (work / f"{name}.out").glob("*.gguf")
            mine = kerf.ids(work / name, text)
            checks.that(kerf.ids(gguf, text) == mine, "the same ids from the GGUF file")
            job = {"model": str(gguf), "windows": [mine[:8]], "vocabulary": ROWS, "texts": [TEXT], "ends": True}
            result, _ = llama_cpp(job, work / "out.npy", work)
            checks.that(result["texts"] == [mine], f"the same ids in llama.cpp ({mine})")
            wanted = {0, *(ids[e] for e in ends[:stopped])}
            checks.that(set(result["ends"]) == wanted, f"llama.cpp stops at {sorted(result['ends'])}, wanted are {sorted(wanted)}")
            metadata = kerf.json("inspect", gguf)["metadata"]
            checks.that(metadata["tokenizer.ggml.padding_token_id"] == ROWS - 1, "PAD is a row without a token")
            modelfile = (work / f"{name}.out" / "Modelfile").read_text(encoding="utf-8")
            checks.that(all(f'PARAMETER stop "{e}"' in modelfile for e in ends), "the Modelfile stops at every end")
            remarks = json.loads((work / f"{name}.out" / "kerf-report.json").read_text())["targets"][0]["remarks"]
            said = any("llama.cpp goes on behind" in r and ends[-1] in r for r in remarks)
            checks.that(said == (len(ends) > stopped), "the report says what llama.cpp does not stop at, if anything")
    checks.finish()


main()
