"""`kerf tokenize` against the Hugging Face `tokenizers` library: the same ids of every text in the data folder and of
adversarial strings, under the embedded model's tokenizer and every tokenizer in the data folder.

Every code point that Unicode 14 assigns occurs (Python 3.11 knows Unicode 14; a newer Python tests more). Of those that
it does not assign, which the library may take for letters or digits of a newer Unicode, a difference is only reported.
"""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.dont_write_bytecode = True  # the goldens' folder is no place for it
from interop import Checks, Kerf

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "model" / "goldens" / "tokenizer"))
import make  # the generator of the goldens: its adversarial strings


def random_texts(seed, count):
    """Long texts of random characters of every kind, more of those that tokenizers treat specially."""
    rng = random.Random(seed)
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    special = list(" \n\r\t'<>|_\u2581\u00a0\u3000sStTrRevmlLdD0123456789")
    special += ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>", "<tool_call>", "e\u0301", "\u1100\u1161"]
    marks = [c for c in known if unicodedata.combining(c)]
    pools = (known, special, marks)
    for _ in range(count):
        weights = [rng.random() for _ in pools]
        yield "".join(rng.choice(rng.choices(pools, weights)[0]) for _ in range(rng.randint(1000, 20000)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kerf", required=True, help="the program under test")
    parser.add_argument("--data", default=os.environ.get("KERF_DATA") or ROOT / ".." / "shared", type=pathlib.Path)
    arguments = parser.parse_args()
    kerf, checks = Kerf(arguments.kerf), Checks()

    folders = [ROOT / "examples" / "tinytales"]
    for kind in ("tokenizers", "models"):
        folders += sorted(p.parent for p in arguments.data.glob(f"{kind}/*/tokenizer.json"))
    texts = {p.name: p.read_bytes().decode() for p in sorted(arguments.data.glob("text/**/*")) if p.suffix in (".txt", ".utf8")}
    texts["heldout.txt"] = (ROOT / "examples" / "tinytales" / "heldout.txt").read_bytes().decode()
    strings = make.expand(make.adversarial())
    texts["adversarial strings"] = "\n\u4e00\n".join(strings)
    texts |= {f"string {i}": s for i, s in enumerate(strings[:12])}  # what their ends do; the goldens have the others
    texts |= {f"random {i}": s for i, s in enumerate(random_texts(1, 3))}
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts["assigned"] = "a".join(c for c in points if unicodedata.category(c) != "Cn")
    later = "a".join(c for c in points if unicodedata.category(c) == "Cn")

    seen = set()
    for folder in folders:
        definition = (folder / "tokenizer.json").read_bytes()
        if definition in seen:
            continue
        seen.add(definition)
        library = Tokenizer.from_file(str(folder / "tokenizer.json"))

        def same(text):
            with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
                file.write(text.encode())
                file.flush()
                return kerf.ids(folder, file.name) == library.encode(text, add_special_tokens=False).ids

        different = [name for name, text in texts.items() if not same(text)]
        checks.that(not different, f"{folder.name}: the ids of {len(texts)} texts" + "".join(f"; {d} differs" for d in different))
        if not same(later):
            print(f"note    {folder.name}: code points that Unicode {unicodedata.unidata_version} does not assign differ")
    checks.finish()


if __name__ == "__main__":
    main()
