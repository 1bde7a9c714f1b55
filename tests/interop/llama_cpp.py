#!/usr/bin/env python3
"""llama.cpp itself runs what kerf packed for it, on the same tokens.

  llama_cpp.py --kerf KERF --model MODEL --scheme Q8_0 --text FILE [--windows N] [--skip-tokens N]

(a) the mean KL(float32 reference || llama.cpp) is what kerf predicts, within 2 %, and so is the perplexity, within 0.1 %;
(b) it is the arithmetic that agrees and not just the weights: the mean KL(kerf's packed || llama.cpp) is at most a
    hundredth of the same figure with kerf's rounding of activations switched off, or both vanish (2e-6);
(c) llama.cpp's tokenizer, from the tables in the GGUF file, gives kerf's ids;
(d) a story that it writes greedily is printed for the reader.
Flash attention is off; batches of one window; two threads.
"""
import argparse
import json
import pathlib
import tempfile

from interop import TRICKY_TEXTS, Checks, Kerf, Windows, llama_cpp, mean_kl, perplexity, resolve

# Log-probabilities are float32: half an ulp of a value of about 10 is 5e-7, and over thousands of positions the errors
# average out far below this.
VANISHES = 2e-6

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kerf", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--scheme", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--skip-tokens", type=int, default=0)
    options = parser.parse_args()
    kerf = Kerf(options.kerf)
    model = resolve(options.model)
    windows = Windows(resolve(options.text), ctx=256, count=options.windows, skip=options.skip_tokens)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))

    with tempfile.TemporaryDirectory(prefix="kerf-interop-") as work:
        work = pathlib.Path(work)
        target = f"llama.cpp-cpu:{options.scheme}"
        report = kerf.json("compress", model, "--target", target, *windows.options(), "-o", work / "packed")
        predicted = report["targets"][0]["metrics"]
        (gguf,) = (work / "packed").rglob("*.gguf")

        reference = kerf.log_probabilities(model, work / "reference.npy", *windows.options())
        packed = kerf.log_probabilities(gguf, work / "packed.npy", *windows.options())
        plain = kerf.log_probabilities(gguf, work / "plain.npy", "--arithmetic", "float32", *windows.options())

        texts = [windows.text.read_text(encoding="utf-8")[:50000], *TRICKY_TEXTS]
        tokens = []
        for i, text in enumerate(texts):
            text_file = work / f"text{i}"
            text_file.write_text(text, encoding="utf-8", newline="")
            tokens.append(kerf.ids(model, text_file))
        ids = windows.cut(kerf.ids(model, windows.text), config["bos_token_id"])
        job = {
            "model": str(gguf),
            "windows": ids,
            "vocabulary": config["vocab_size"],
            "texts": texts,
            "story": {"prompt": "Once upon a time", "tokens": 80},
        }
        result, runtime = llama_cpp(job, work / "runtime.npy", work)

        checks = Checks()
        checks.that(result["flash_attention"] is False, "flash attention is off")
        for text, mine, theirs in zip(texts, tokens, result["texts"]):
            checks.that(mine == theirs, f"the same {len(mine)} ids of {text[:40]!r}")
        checks.close("mean KL to the reference", predicted["kl_mean"], mean_kl(reference, runtime), 0.02)
        checks.close("perplexity", predicted["ppl"], perplexity(runtime, ids), 0.001)
        agree, without = mean_kl(packed, runtime), mean_kl(plain, runtime)
        checks.that(
            agree <= without / 100 or max(agree, without) <= VANISHES,
            f"mean KL(kerf || llama.cpp) {agree:.3e}; with kerf's rounding of activations off {without:.3e}",
        )
        print("\nllama.cpp, greedily:", result["story"])
        checks.finish()


main()
