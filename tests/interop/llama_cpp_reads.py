#!/usr/bin/env python3
"""kerf and llama.cpp run a GGUF file that somebody else made, on the same tokens.

  llama_cpp_reads.py --kerf KERF --gguf FILE --text FILE [--windows N]

FILE may be PACKAGE/*.gguf, which is looked for among the packages of requirements-gguf.txt.

(a) the perplexity is llama.cpp's, within 0.1 %;
(b) it is the arithmetic that agrees and not just the weights: the mean KL(kerf || llama.cpp) is at most a hundredth of the
    same figure with kerf's rounding of activations switched off, or both vanish (2e-6);
(c) the tokenizers give the same ids.
Flash attention is off; batches of one window; two threads.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

from interop import TRICKY_TEXTS, Checks, Kerf, Windows, llama_cpp, mean_kl, perplexity, resolve

VANISHES = 2e-6  # llama_cpp.py says why


def packaged(pattern):
    script = pathlib.Path(__file__).with_name("environment.sh")
    done = subprocess.run([script, "gguf"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)  # 77: skipped
    (file,) = pathlib.Path(done.stdout.strip()).glob(f"venv/lib/python3*/site-packages/{pattern}")
    return file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kerf", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=2)
    options = parser.parse_args()
    kerf = Kerf(options.kerf)
    gguf = packaged(options.gguf) if "*" in options.gguf else resolve(options.gguf)
    windows = Windows(resolve(options.text), ctx=256, count=options.windows, skip=0)
    description = kerf.json("inspect", gguf)
    metadata = description["metadata"]

    with tempfile.TemporaryDirectory(prefix="kerf-interop-") as work:
        work = pathlib.Path(work)
        texts = [windows.text.read_text(encoding="utf-8")[:50000], *TRICKY_TEXTS]
        tokens = []
        for i, text in enumerate(texts):
            text_file = work / f"text{i}"
            text_file.write_text(text, encoding="utf-8", newline="")
            tokens.append(kerf.ids(gguf, text_file))
        ids = windows.cut(kerf.ids(gguf, windows.text), metadata["tokenizer.ggml.bos_token_id"])
        vocabulary = description["model"]["vocab"]
        job = {"model": str(gguf), "windows": ids, "vocabulary": vocabulary, "texts": texts}
        result, runtime = llama_cpp(job, work / "runtime.npy", work)
        packed = kerf.log_probabilities(gguf, work / "packed.npy", *windows.options())
        plain = kerf.log_probabilities(gguf, work / "plain.npy", "--arithmetic", "float32", *windows.options())

        checks = Checks()
        for text, mine, theirs in zip(texts, tokens, result["texts"]):
            checks.that(mine == theirs, f"the same {len(mine)} ids of {text[:40]!r}")
        checks.close("perplexity", perplexity(packed, ids), perplexity(runtime, ids), 0.001)
        agree, without = mean_kl(packed, runtime), mean_kl(plain, runtime)
        checks.that(
            agree <= without / 100 or max(agree, without) <= VANISHES,
            f"mean KL(kerf || llama.cpp) {agree:.3e}; with kerf's rounding of activations off {without:.3e}",
        )
        checks.finish()


main()
