#!/usr/bin/env python3
"""Makes beside.json with AutoTokenizer of transformers (PyPI; the version is written into it): folders whose special
tokens stand beside tokenizer.json in the several ways that there are, and what AutoTokenizer makes of them.

    python make_beside.py
"""
import copy
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers
from make import HERE, write
from transformers import AutoTokenizer

LETTERS = "!\"/<>_abcdefghijklmnopqrstuvwxyz|\u0120\u010a"
TOKENS = ["<|endoftext|>", *LETTERS, "th", "the", "\u0120c"]
TEXT = 'the <|im_start|>user\nhi  <|im_end|> ran<tool> <x><pad><extra><image><boi><b><a> !"cat cats <Tool> <|endoftext|>!'


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": True, **flags}


TOKENIZER = {
    "version": "1.0", "added_tokens": [{"id": 0, **token("<|endoftext|>")}], "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(TOKENS)}, "merges": ["t h", "th e", "\u0120 c"]},
}
N = len(TOKENS)
CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
START_END = {str(N): token("<|im_start|>"), str(N + 1): token("<|im_end|>")}


def config(**keys):
    return {**CONFIG, **keys}


def case(config, **files):
    return {"tokenizer_config.json": config, **{name.replace("__", "."): content for name, content in files.items()}}


CASES = {
    "Decoder": case(config(added_tokens_decoder=START_END)),
    "AddedTokensJson": case(config(), added_tokens__json={"<|im_start|>": N, "<|im_end|>": N + 1}),
    "AddedTokensJsonAndMap": case(
        config(eos_token="!"), added_tokens__json={"<|im_start|>": N, "<|im_end|>": N + 1, "<tool>": N + 2},
        special_tokens_map__json={"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]}),
    "AddedTokensJsonBesideDecoder": case(config(added_tokens_decoder=START_END), added_tokens__json={"<x>": N + 2}),
    "EmptyDecoder": case(config(added_tokens_decoder={}), added_tokens__json={"<x>": N},
                         special_tokens_map__json={"pad_token": "<pad>"}),
    "NoConfig": {"special_tokens_map.json": {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>"},
                 "added_tokens.json": {"<|im_start|>": N, "<|im_end|>": N + 1}},
    "OtherIds": case(config(added_tokens_decoder={str(N): token("<|im_end|>"), str(N + 6): token("<|im_start|>")})),
    "Hole": case(config(added_tokens_decoder={str(N + 2): token("<|im_end|>"), str(N + 1): token("<|im_start|>")})),
    "Unordered": case(config(added_tokens_decoder={str(N + 1): token("<|im_end|>"), str(N): token("<|im_start|>")})),
    "FlagsOfTokensThatAreThere": case(config(added_tokens_decoder={
        "0": token("<|endoftext|>", lstrip=True, rstrip=True, special=False, normalized=True),
        str(N): token("<|im_start|>", rstrip=True), str(N + 1): token("<|im_end|>", special=False)})),
    "OnlyNamed": case(config(pad_token="<pad>", additional_special_tokens=["<|im_start|>", "<extra>"])),
    "OnlyNamedInMap": case(config(), special_tokens_map__json={"eos_token": "!", "pad_token": token("<pad>", lstrip=True)}),
    "MapBesideDecoder": case(config(added_tokens_decoder=START_END),
                             special_tokens_map__json={"eos_token": "!", "pad_token": "<pad>"}),
    "MapGoesFirst": case(config(eos_token='"'), special_tokens_map__json={"eos_token": "!"}),
    "TokensOfTheModelsOwnNames": case(config(added_tokens_decoder=START_END, image_token="<image>", boi_token="<boi>")),
    "ExtraObject": case(config(added_tokens_decoder=START_END, extra_special_tokens={"image_token": "<image>"})),
    "ExtraList": case(config(added_tokens_decoder=START_END, extra_special_tokens=["<image>", "<b>"])),
    "NamedTokenOfTheModel": case(config(eos_token="!")),
    "DecoderNamesTokenOfTheModel": case(config(added_tokens_decoder={
        "0": token("<|endoftext|>"), "1": token("!"), str(N): token("<|im_end|>")})),
    "Normalized": case(config(added_tokens_decoder={str(N): token("<Tool>", special=False, normalized=True)})),
    "SingleWord": case(config(added_tokens_decoder={str(N): token("cat", special=False, single_word=True)})),
    "OneTokenTwice": case(config(added_tokens_decoder={
        str(N): token("<a>"), str(N + 1): token("<a>"), str(N + 2): token("<b>")})),
    "UnkAndPad": case(config(added_tokens_decoder=START_END, unk_token="<|endoftext|>", pad_token="<|im_end|>")),
    "Nothing": {},
}


def expected(folder):
    t = AutoTokenizer.from_pretrained(folder)
    flags = ("lstrip", "rstrip", "normalized", "single_word", "special")
    return {
        "ids": t(TEXT, add_special_tokens=False)["input_ids"],
        "added": {str(i): [a.content, *(getattr(a, f) for f in flags)] for i, a in sorted(t.added_tokens_decoder.items())},
        "bos": t.bos_token_id, "eos": t.eos_token_id, "pad": t.pad_token_id, "unk": t.unk_token_id,
    }


def main():
    out = {"provenance": f"tests/model/goldens/tokenizer/make_beside.py, transformers {transformers.__version__}",
           "text": TEXT, "tokenizer": TOKENIZER, "cases": {}}
    for name, files in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {"tokenizer.json": TOKENIZER, "config.json": {"model_type": "llama"}, **files}.items():
                with open(os.path.join(folder, file), "w") as f:
                    json.dump(content, f)
            out["cases"][name] = {"files": copy.deepcopy(files), "expected": expected(folder)}
    write("beside.json", out, 3)


if __name__ == "__main__":
    main()
