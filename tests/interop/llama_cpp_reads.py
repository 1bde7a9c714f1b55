#!/usr/bin/env python3
"""kerf and llama.cpp run a GGUF file that somebody else made, on the same tokens.

  llama_cpp_reads.py --kerf KERF --gguf FILE --text FILE [--windows N]

FILE may be PACKAGE/*.gguf, which is looked for among the packages of requirements-gguf.txt.

(a) the perplexity is llama.cpp's, within 0.1 %;
(b) it is the arithmetic that agrees and not just the weights: the mean KL(kerf || llama.cpp) is at most a hundredth of the
    same figure with kerf's rounding of activations switched off, or what float32 can tell (5e-8);
(c) the tokenizers give the same ids;
(d) `kerf repack` writes every matrix again from its codes and scales: the gguf package finds the same bytes.
Both take their defaults of attention; batches of one window; two threads.
"""
import pathlib
import subprocess
import sys

from gguf import GGUFReader as gguf_file

from interop import FLOAT32_KL, TRICKY_TEXTS, Checks, Setting, llama_cpp, mean_kl, perplexity, resolve, workplace


def packaged(pattern):
    script = pathlib.Path(__file__).with_name("environment.sh")
    done = subprocess.run([script, "gguf"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)  # 77: skipped
    (file,) = pathlib.Path(done.stdout.strip()).glob(f"venv/lib/python3*/site-packages/{pattern}")
    return file


def main():
    setting = Setting("gguf", "text", windows=2)
    kerf, windows, gguf = setting.kerf, setting.windows, setting.options.gguf
    gguf = packaged(gguf) if "*" in gguf else resolve(gguf)
    description = kerf.json("inspect", gguf)
    metadata = description["metadata"]

    with workplace() as work:
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
        packed = setting.log_probabilities(gguf, work / "packed.npy")
        plain = setting.log_probabilities(gguf, work / "plain.npy", "--arithmetic", "float32")

        checks = Checks()
        for text, mine, theirs in zip(texts, tokens, result["texts"]):
            checks.that(mine == theirs, f"the same {len(mine)} ids of {text[:40]!r}")
        checks.close("perplexity", perplexity(packed, ids), perplexity(runtime, ids), 0.001)
        agree, without = mean_kl(packed, runtime), mean_kl(plain, runtime)
        checks.that(
            agree <= max(without / 100, FLOAT32_KL),
            f"mean KL(kerf || llama.cpp) {agree:.3e}; with kerf's rounding of activations off {without:.3e}",
        )
        kerf("repack", gguf, "--target", "llama.cpp-cpu", "-o", work / "again")
        (again,) = (work / "again").glob("*.gguf")
        mine, theirs = ({t.name: (t.tensor_type, t.data.tobytes()) for t in gguf_file(f).tensors} for f in (again, gguf))
        checks.that(mine == theirs, f"{len(mine)} tensors repacked to the same bytes")
        checks.finish()


main()
