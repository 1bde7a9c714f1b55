"""Trimmed tokenizers (prune/vocabulary.h) in the Hugging Face `tokenizers` library and, where it is installed, in
AutoTokenizer of transformers: they load; ids are 0 .. n - 1; the text that they were trimmed to has the same tokens as
before; any text has the ids that kerf gives it, and decodes to what it did before.

--trim names the program that makes them (bench/trim_vocabulary) from every tokenizer of the data folder; --pair ORIGINAL
TRIMMED compares a folder that something else made, on the text of --text.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from interop import TRICKY_TEXTS, Checks, Kerf, data_dir, skip, workplace

from tokenizers import Tokenizer

try:
    import transformers
except ImportError:
    transformers = None


def kerf_ids(kerf, folder, text):
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
        file.write(text.encode())
        file.flush()
        return kerf.ids(folder, file.name)


def auto(folder):
    """AutoTokenizer, or without a tokenizer_config.json to say which class it is, the one for any tokenizer.json."""
    if (folder / "tokenizer_config.json").exists():
        return transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def in_library(checks, name, kerf, original, trimmed, corpus, others):
    old, new = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (original, trimmed))
    ids = sorted(new.get_vocab(with_added_tokens=True).values())
    checks.that(ids == list(range(len(ids))), f"{name}: the library loads it, ids are 0 .. {len(ids) - 1}")
    before, after = old.encode(corpus, add_special_tokens=False), new.encode(corpus, add_special_tokens=False)
    checks.that(before.tokens == after.tokens, f"{name}: the {len(after.ids)} tokens of its text are those of before")
    encoded = {k: new.encode(t, add_special_tokens=False).ids for k, t in others.items()}
    different = [k for k, t in others.items() if kerf_ids(kerf, trimmed, t) != encoded[k]]
    checks.that(not different, f"{name}: kerf gives {len(others)} other texts the library's ids {different or ''}")
    changed = [k for k, t in others.items() if new.decode(encoded[k]) != old.decode(old.encode(t, add_special_tokens=False).ids)]
    checks.that(not changed, f"{name}: they decode to what they did before {changed or ''}")
    word = corpus.split()[0]
    checks.that(old.encode(word).tokens == new.encode(word).tokens, f"{name}: the template puts the same tokens around a text: {new.encode(word).tokens}")


def in_transformers(checks, name, kerf, original, trimmed, corpus, others):
    old, new = auto(original), auto(trimmed)
    checks.that(old.special_tokens_map == new.special_tokens_map, f"{name}: {type(new).__name__} has the same special tokens")
    checks.that(old.chat_template == new.chat_template, f"{name}: and the same chat template")
    before, after = (t.convert_ids_to_tokens(t(corpus)["input_ids"]) for t in (old, new))
    checks.that(before == after, f"{name}: and the same {len(after)} tokens of its text")
    different = []
    for k, t in others.items():
        if kerf_ids(kerf, trimmed, t) == new(t, add_special_tokens=False)["input_ids"]:
            continue
        if kerf_ids(kerf, original, t) == old(t, add_special_tokens=False)["input_ids"]:
            different.append(k)
        else:
            print(f"note    {name}: {k}: kerf and {type(new).__name__} differ, as they do on the original")
    checks.that(not different, f"{name}: kerf gives {len(others)} other texts its ids {different or ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kerf", required=True, help="the program under test")
    parser.add_argument("--trim", help="the program that trims")
    parser.add_argument("--pair", nargs=2, action="append", default=[], type=pathlib.Path, metavar=("ORIGINAL", "TRIMMED"))
    parser.add_argument("--text", type=pathlib.Path, help="what --pair was trimmed to; default: the head of tinystories.txt")
    parser.add_argument("--most", type=int, default=0, help="for --trim; more than the text uses")
    arguments = parser.parse_args()
    kerf, checks, data = Kerf(arguments.kerf), Checks(), data_dir()

    corpus_file = arguments.text or data / "text" / "tinystories.txt"
    if not corpus_file.exists():
        skip(f"needs {corpus_file}")
    corpus = corpus_file.read_bytes().decode()
    others = {p.name: p.read_bytes().decode()[:200_000] for p in sorted((data / "text" / "calibration").glob("*.utf8"))}
    others |= {f"tricky {i}": t for i, t in enumerate(TRICKY_TEXTS)}

    with workplace() as work:
        pairs = list(arguments.pair)
        for folder in sorted(p.parent for p in (data / "tokenizers").glob("*/tokenizer.json")) if arguments.trim else []:
            made = work / folder.name
            subprocess.run([arguments.trim, folder, "--text", corpus_file, "--most", str(arguments.most), "-o", made], check=True)
            pairs.append((folder, made))
        for original, trimmed in pairs:
            in_library(checks, original.name, kerf, original, trimmed, corpus, others)
            if transformers:
                in_transformers(checks, original.name, kerf, original, trimmed, corpus, others)
    if not pairs:
        sys.exit("nothing to compare: give --trim or --pair")
    checks.finish()


if __name__ == "__main__":
    main()
