#!/usr/bin/env python3
"""The Hugging Face `tokenizers` library (PyPI) on the inputs of tokenizer_bench, one thread, in the same way: a fresh
tokenizer each time, the whole text at once or line by line. Run from the root of the source; prints MB per second of
processor time, the best of as many runs as the argument says."""
import gc
import os
import pathlib
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import Tokenizer

DATA = pathlib.Path(os.environ.get("KERF_DATA") or "../shared")
TEXTS = [DATA / "text" / "calibration" / f"{n}.utf8" for n in ("wiki", "multilingual", "code")]
EMBEDDED = pathlib.Path("examples") / "tinytales"


def best(repeat, prepare, run):
    times = []
    for _ in range(repeat):
        subject = prepare()
        gc.collect()
        begin = time.process_time()
        run(subject)
        times.append(time.process_time() - begin)
    return min(times)


def main():
    repeat = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("tokenizers", tokenizers.__version__)
    jobs = [("tinytales", EMBEDDED, [EMBEDDED / "heldout.txt"])]
    jobs += [(n, DATA / "tokenizers" / n, TEXTS) for n in ("gpt2", "smollm2", "llama2", "llama3.2", "qwen2.5")]
    for name, folder, texts in jobs:
        file = str(folder / "tokenizer.json")
        if not os.path.exists(file):
            continue
        print(f"load/{name}: {1000 * best(repeat, lambda: None, lambda _: Tokenizer.from_file(file)):.0f} ms")
        for text in texts:
            whole = text.read_bytes().decode()
            size = len(whole.encode()) / 1e6
            for lines in (False, True):
                parts = whole.splitlines(keepends=True) if lines else [whole]
                seconds = best(
                    repeat,
                    lambda: Tokenizer.from_file(file),
                    lambda t: [t.encode(p, add_special_tokens=False).ids for p in parts],
                )
                print(f"{name}/{text.stem}/{'lines' if lines else 'whole'}: {size / seconds:.2f} MB/s", flush=True)


if __name__ == "__main__":
    main()
