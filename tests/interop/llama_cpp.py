#!/usr/bin/env python3
"""llama.cpp itself runs what kerf packed for it, on the same tokens.

  llama_cpp.py --kerf KERF --model MODEL --scheme Q8_0 --text FILE [--windows N] [--skip-tokens N]
               [--flash-attention on|off] [--kv-cache TYPE] [--distill lora --calib TEXT]

(a) the mean KL(float32 reference || llama.cpp) is what kerf predicts, within 2 %, and so is the perplexity, within 0.1 %;
(b) it is the arithmetic that agrees and not just the weights: the mean KL(kerf's packed || llama.cpp) is at most a
    hundredth of the same figure with kerf's rounding of activations switched off, or what float32 can tell (5e-8);
(c) llama.cpp's tokenizer, from the tables in the GGUF file, gives kerf's ids;
(d) a story that a trained model writes greedily is printed for the reader.
Without options both take their defaults: flash attention on, the cache in F16. Batches of one window; two threads.
"""
import json

from interop import FLOAT32_KL, TRICKY_TEXTS, Checks, Setting, llama_cpp, mean_kl, perplexity, workplace


def main():
    setting = Setting("model", "scheme", "text")
    kerf, model, windows, config = setting.kerf, setting.model, setting.windows, setting.config

    with workplace() as work:
        predicted = setting.compress(f"llama.cpp-cpu:{setting.options.scheme}", work / "packed")["metrics"]
        (gguf,) = (work / "packed").glob("*.gguf")
        adapter = setting.adapter_options(work / "packed")

        reference = setting.log_probabilities(model, work / "reference.npy")
        packed = setting.log_probabilities(gguf, work / "packed.npy", *adapter, *setting.llama_cpp_options())
        plain = setting.log_probabilities(gguf, work / "plain.npy", *adapter, "--arithmetic", "float32")

        texts = [windows.text.read_text(encoding="utf-8")[:50000], *TRICKY_TEXTS]
        tokens = []
        for i, text in enumerate(texts):
            text_file = work / f"text{i}"
            text_file.write_text(text, encoding="utf-8", newline="")
            tokens.append(kerf.ids(model, text_file))
        ids = setting.ids()
        job = {
            "model": str(gguf),
            "windows": ids,
            "vocabulary": config["vocab_size"],
            "texts": texts,
            **setting.llama_cpp_job(),
        }
        if adapter:
            (job["adapter"],) = map(str, (work / "packed" / "adapter").glob("*.gguf"))
        tells = not setting.options.model.startswith("RANDOM/")
        if tells:
            job["story"] = {"prompt": "Once upon a time", "tokens": 80}
        result, runtime = llama_cpp(job, work / "runtime.npy", work)

        checks = Checks()
        checks.that(result["flash_attention"] == job["flash_attention"], f"flash attention is {job['flash_attention']}")
        for text, mine, theirs in zip(texts, tokens, result["texts"]):
            checks.that(mine == theirs, f"the same {len(mine)} ids of {text[:40]!r}")
        checks.close("mean KL to the reference", predicted["kl_mean"], mean_kl(reference, runtime), 0.02, FLOAT32_KL)
        checks.close("perplexity", predicted["ppl"], perplexity(runtime, ids), 0.001)
        agree, without = mean_kl(packed, runtime), mean_kl(plain, runtime)
        if adapter:
            report = json.loads((work / "packed" / "kerf-report.json").read_text(encoding="utf-8"))["targets"][0]
            checks.that(predicted["kl_mean"] < 0.95 * report["without_adapter"]["metrics"]["kl_mean"],
                        "the mean KL is smaller than without the adapter")
        checks.that(
            agree <= max(without / 100, FLOAT32_KL),
            f"mean KL(kerf || llama.cpp) {agree:.3e}; with kerf's rounding of activations off {without:.3e}",
        )
        if tells:
            print("\nllama.cpp, greedily:", result["story"])
        checks.finish()


main()
