#!/usr/bin/env python3
"""Makes the goldens of the tokenizer tests with the Hugging Face `tokenizers` library (PyPI; the version is written
into them): strings.json (adversarial texts), embedded.json (ids of the embedded model's tokenizer), shared.json (a hash
of the ids of each text under each tokenizer of the data folder), small.json (little tokenizers that show the flags of
added tokens, templates, normalizers and decoders one by one).

    python make.py [DATA]        DATA: the folder of large inputs, default <source>/../shared
"""
import glob
import json
import os
import random
import sys
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.abspath(os.path.join(HERE, *[".."] * 4))
PROVENANCE = f"tests/model/goldens/tokenizer/make.py, tokenizers {tokenizers.__version__}"


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def lines(value, depth):
    """JSON with the outermost `depth` levels spread over lines."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return compact(value)
    if isinstance(value, dict):
        return "{\n" + ",\n".join(compact(k) + ": " + lines(v, depth - 1) for k, v in value.items()) + "\n}"
    return "[\n" + ",\n".join(lines(v, depth - 1) for v in value) + "\n]"


def write(name, value, depth):
    with open(os.path.join(HERE, name), "w", encoding="ascii") as f:
        f.write(lines(value, depth) + "\n")


def fnv(data):
    """FNV-1a, 64 bits."""
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def hash_of(ids):
    return fnv(b"".join(i.to_bytes(4, "little") for i in ids))


def code_points(begin, end):
    """All code points of [begin, end) that are no surrogates, an 'a' between any two. The C++ test builds the same."""
    return "a".join(chr(c) for c in range(begin, end) if not 0xD800 <= c < 0xE000)


def adversarial():
    """Texts, and [text, n] for a text n times over."""
    texts = [
        "", " ", "  ", "\n", "\r\n", "\t", " \n", "\n ", "a", "  a", "a  ", " a b  c   d ", "x \n y\n\n z \r\n w", "\n\n\n a",
        "hello world", "Hello, world! 123 4567", "don't we'll I'VE 'S 'lL 'Re'd''m", "'\u017f '\u017fs", "'s't're", "' s", "''s",
        "1234567890 12 3", "a1b22c333", "\u2460\u2461\u2167\u00bd\u0663\u0967 \U0001d7d8", "3.14e-10 0x1F",
        "\u2581\u2581\u2581 a\u2581b \u2581", "\u2581", " \u2581 ", "<0x41><0x0A>", "<0x", "<s>", "</s>x<s>", "a<s>b", " <s> </s> <unk>",
        "<unk>", "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> <|endoftext|>\n", "<|endoftext", "<|<|endoftext|>|>",
        "<|im_start|>user\nhi<|im_end|>\n", "<|begin_of_text|><|eot_id|>x", "<tool_call>{}</tool_call>", "<repo_name>kerf",
        "\u0000\u0001\u007f\u0080\u009f", "\u180e \u200b\u2028\u2029\u0085\u00a0\u3000x", "\ufeffBOM", "\ufffd\ufffe\uffff\U0010ffff",
        "\u00e9\u00c9 e\u0301 E\u0301", "e\u0301\u0323 e\u0323\u0301", "\u1e9b\u0323", "\u212b \u2126 \u0344 \u0958 \uf900 \U0002f800",
        "\u1100\u1161\u11a8 \uac00\u11a8 \u1100\u1161 \u1161\u11a8", "\u0b47\u0b56 \u0dd9\u0dcf\u0dca \u102b\u1025\u102e",
        "a\u0f71\u0f72\u0f74", "\U00011935\U00011930 \U000105d2\u0307 \U0001e4ec\u0323\u0301", "\u08ca\u0323a\u08ca\u0323",
        "\u6f22\u5b57\u4eee\u540d\u4ea4\u3058\u308a\u6587", "\ud55c\uad6d\uc5b4", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
        "\u05e2\u05d1\u05e8\u05d9\u05ea", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\U0001f600\U0001f469\u200d\U0001f467\U0001f3fd",
        "\U0001f1e9\U0001f1ea", "\ue000\U000f0000", "\u0378\u0530\U000e1000", "\u02bcn \u0149 \ufb06 \u0130\u0131",
    ]  # fmt: skip
    for run in ("a", " ", "\n", "1", "'", "ab", "\u2581", "\u00e9", "\u6f22", "\u0301", "\u0301\u0323", " a", "\U0001f600"):
        texts += [[run, n] for n in (47, 48, 49, 50, 1000)]
    rng = random.Random(14)
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    pools = [
        known,
        [c for c in known if unicodedata.category(c)[0] == "M"],
        [c for c in known if unicodedata.category(c)[0] == "N"],
        [c for c in known if c.isspace()],
        list("abcdefgh 'stremlvdSTREMLVD'"),
        list(" \n\r\t"),
        [chr(c) for c in (*range(0x1100, 0x1200), *range(0xAC00, 0xAC20))],
        ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<tool_call>"],
    ]
    for _ in range(120):
        weights = [rng.random() ** 2 for _ in pools]
        texts.append("".join(rng.choice(rng.choices(pools, weights)[0]) for _ in range(rng.randint(1, 40))))
    return texts


def expand(texts):
    return [t if isinstance(t, str) else t[0] * t[1] for t in texts]


def case(t, text):
    ids = t.encode(text, add_special_tokens=False).ids
    return {
        "text": text,
        "ids": ids,
        "ids_special": t.encode(text).ids,
        "decoded": t.decode(ids, skip_special_tokens=False),
        "decoded_skip": t.decode(ids, skip_special_tokens=True),
    }


def digest(t, text):
    ids = t.encode(text, add_special_tokens=False).ids
    decoded = t.decode(ids, skip_special_tokens=False).encode()
    return {"count": len(ids), "ids": hash_of(ids), "decoded": fnv(decoded)}


def embedded():
    """Texts of up to 20 characters with their ids, so that a failing test can be read; the others as hashes."""
    folder = os.path.join(SOURCE, "examples", "tinytales")
    t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    out = {"provenance": PROVENANCE, "files": {}}
    out["cases"] = [list(case(t, s).values()) for s in expand(adversarial()) if len(s) <= 20]
    out["strings"] = [digest(t, s) for s in expand(adversarial())]
    for name in ("heldout.txt", "calibration.txt"):
        with open(os.path.join(folder, name), encoding="utf8", newline="") as f:
            out["files"][name] = digest(t, f.read())
    out["code_points"] = [digest(t, code_points(p << 16, (p + 1) << 16)) for p in range(17)]
    return out


def shared(data):
    out = {"provenance": PROVENANCE, "tokenizers": {}}
    files = sorted(f for f in glob.glob(os.path.join(data, "text", "**"), recursive=True) if f.endswith((".txt", ".utf8")))
    texts = expand(adversarial())
    for path in sorted(glob.glob(os.path.join(data, "tokenizers", "*")) + glob.glob(os.path.join(data, "models", "*"))):
        if not os.path.exists(os.path.join(path, "tokenizer.json")):
            continue
        t = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        entry = {"files": {}}
        for f in files:
            with open(f, encoding="utf8", newline="") as text:
                entry["files"][os.path.relpath(f, data)] = digest(t, text.read())
        entry["code_points"] = [digest(t, code_points(p << 16, (p + 1) << 16)) for p in range(17)]
        entry["strings"] = [fnv((hash_of(t.encode(s).ids) + digest(t, s)["decoded"]).encode()) for s in texts]
        out["tokenizers"][os.path.relpath(path, data)] = entry
    return out


def token(id, content, **flags):
    base = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {**base, **flags}


def small():
    """Tokenizers of a few characters; the merges make "ab", "abc" and U+2581 "a"."""
    m = "\u2581"
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", m, "a", "b", "c", "d", " ", "ab", "abc", m + "a", "[", "]", "\u00e9", "e", "\u0301"])}
    merges = ["a b", "ab c", f"{m} a"]
    bytes_ = {f"<0x{b:02X}>": 100 + b for b in range(256)}
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": m}, {"type": "Replace", "pattern": {"String": " "}, "content": m}]}
    llama = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": m}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}

    def template(single):
        piece = lambda p: {"Sequence": {"id": "A", "type_id": 0}} if p == "A" else {"SpecialToken": {"id": p, "type_id": 0}}
        names = [p for p in single if p != "A"]
        specials = {n: {"id": n, "ids": [vocab[n]], "tokens": [n]} for n in names}
        return {"type": "TemplateProcessing", "single": [piece(p) for p in single], "pair": [piece(p) for p in single] + [{"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": specials}

    def made(added=(), model=None, **parts):
        base = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges}
        whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added), "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
        return {**whole, **parts, "model": {**base, **(model or {})}}

    n = len(vocab)
    texts = ["", " ", "abc", " abc", "ab ab", "a[X]b", "a [X] b", "a  [X]  b", "[X][X]", " [X] [X] ", "ab[X]", "[X]ab", "\n[X]\n", "abc[X]d[X ]",
             "x", "xyz", "axbyyc", "\u00e9", "e\u0301[X]", "<s>", " <s>", "a<s>b", "<s></s>", "[XY]", "[X]Y]", "\u00e9[X]", "[X]\u0301", "_[X]_", "a\u3000[X]\u2028b"]  # fmt: skip
    variants = {"plain": made()}
    for flag in ("single_word", "lstrip", "rstrip", "normalized"):
        variants[f"added/{flag}"] = made([token(n, "[X]", **{flag: True})])
        variants[f"added/{flag}/prepend"] = made([token(n, "[X]", **{flag: True})], normalizer=prepend, decoder=llama)
    variants["added/strip both, not special"] = made([token(n, "[X]", lstrip=True, rstrip=True, special=False)])
    variants["added/longest"] = made([token(n, "[X]"), token(n + 1, "[X]Y]"), token(n + 2, "[XY]", special=False)])
    variants["added/white space of both"] = made([token(n, "[X]", rstrip=True), token(n + 1, "  ", normalized=True), token(n + 2, "[X ]", lstrip=True)])
    variants["added/in the vocabulary"] = made([token(1, "<s>", normalized=True), token(2, "</s>")], normalizer=prepend, decoder=llama)
    variants["added/nfc"] = made([token(n, "e\u0301[X]", normalized=True)], normalizer={"type": "NFC"})
    variants["template/both ends"] = made([token(1, "<s>"), token(2, "</s>")], post_processor=template(["<s>", "A", "</s>"]))
    variants["template/two in front"] = made([token(1, "<s>"), token(2, "</s>")], post_processor=template(["<s>", "</s>", "A"]))
    variants["template/roberta"] = made(post_processor={"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": True})
    variants["unk/fused"] = made(model={"fuse_unk": True})
    variants["unk/none"] = made(model={"unk_token": None})
    full = {**vocab, **{k: v - 100 + n for k, v in bytes_.items()}}
    some = {**vocab, **{f"<0x{b:02X}>": n + i for i, b in enumerate((0x78, 0x79, 0xC3))}}
    variants["bytes/all"] = made(model={"byte_fallback": True, "fuse_unk": True, "vocab": full}, normalizer=prepend, decoder=llama)
    variants["bytes/some"] = made(model={"byte_fallback": True, "fuse_unk": True, "vocab": some}, decoder=llama)
    variants["bytes/some, not fused"] = made(model={"byte_fallback": True, "vocab": some}, decoder=llama)
    variants["ignore_merges"] = made(model={"ignore_merges": True, "merges": []})
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            step = {"type": "Metaspace", "replacement": m, "prepend_scheme": scheme, "split": split}
            variants[f"metaspace/{scheme}/{'split' if split else 'whole'}"] = made([token(n, "[X]")], pre_tokenizer=step, decoder=step)
    for at in (" ", "a", "b]"):
        step = {"type": "Split", "pattern": {"String": at}, "behavior": "MergedWithPrevious", "invert": False}
        variants[f"split behind {at!r}"] = made([token(n, "[X]")], pre_tokenizer=step)
    digits = {"type": "Digits", "individual_digits": False}
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    letters = {c: i for i, c in enumerate(["a", "b", "c", "\u0120", "ab", "\u0120a", "1", "2", "12", "\u00c3", "\u00a9", "\u010a"])}
    for name, step in (("prefix", level), ("digit runs", {"type": "Sequence", "pretokenizers": [digits, {**level, "add_prefix_space": False}]})):
        model = {"vocab": letters, "merges": ["a b", "\u0120 a", "1 2"], "unk_token": None}
        variants[f"byte level/{name}"] = made([token(len(letters), "[X]")], pre_tokenizer=step, decoder=level, model=model)
    out = []
    for name, definition in variants.items():
        t = Tokenizer.from_str(json.dumps(definition))
        out.append({"name": name, "tokenizer": definition, "cases": [case(t, s) for s in texts + ["12 1 2ab12a", "ab 12"]]})
    # Tokenizers that differ in two fields need not repeat the vocabulary: they are stored as changes to the first.
    base = out[0]["tokenizer"]
    for entry in out:
        d = entry.pop("tokenizer")
        entry["change"] = {k: v for k, v in d.items() if k != "model" and v != base[k]}
        entry["model"] = {k: v for k, v in d["model"].items() if v != base["model"].get(k)}
        entry["cases"] = [list(c.values()) for c in entry["cases"]]
    return {"provenance": PROVENANCE, "base": base, "variants": out}


def main():
    data = sys.argv[1] if len(sys.argv) > 1 else os.path.join(SOURCE, "..", "shared")
    write("strings.json", {"provenance": PROVENANCE, "strings": adversarial()}, 2)
    write("embedded.json", embedded(), 2)
    write("small.json", small(), 4)
    if os.path.isdir(data):
        write("shared.json", shared(data), 4)


if __name__ == "__main__":
    main()
