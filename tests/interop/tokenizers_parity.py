"""`kerf tokenize` against the Hugging Face `tokenizers` library: the same ids of every text in the data folder and of
adversarial strings, under the embedded model's tokenizer and every tokenizer in the data folder.

Every code point that Unicode 14 assigns occurs; what is assigned later is listed where it differs.
"""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
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
    # Short strings go into one file, a character between them that no merge and no pattern reaches over (and each of
    # those that stand for white space at an end is there once more by itself).
    strings = make.expand(make.adversarial())
    texts["adversarial strings"] = "\n\u4e00\n".join(strings)
    for i, s in enumerate(strings[:64]):
        texts[f"string {i}"] = s
    for plane in range(17):
        texts[f"plane {plane}"] = make.code_points(plane << 16, (plane + 1) << 16)
    for i, s in enumerate(random_texts(1, 4)):
        texts[f"random {i}"] = s

    for folder in folders:
        library = Tokenizer.from_file(str(folder / "tokenizer.json"))
        different = []
        for name, text in texts.items():
            with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
                file.write(text.encode())
                file.flush()
                if kerf.ids(folder, file.name) != library.encode(text, add_special_tokens=False).ids:
                    different.append(name)
        checks.that(not different, f"{folder.name}: the ids of {len(texts)} texts" + "".join(f"; {d} differs" for d in different))
    checks.finish()


if __name__ == "__main__":
    main()
