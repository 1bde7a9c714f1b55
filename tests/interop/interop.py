"""What the interop tests share: running kerf, comparing distributions, and saying what was found.

Log-probabilities are arrays [windows, length, vocabulary] of float32, as `kerf eval --logits` writes them. Position t of
a window predicts its token t + 1, so all positions but the last are scored. Figures are computed in float64.
"""
import argparse
import atexit
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SKIPPED = 77  # the exit code that ctest counts as skipped

# Twice the mean KL between two runs in bfloat16 that differ in the order of their sums alone: 1.4e-4 to 1.9e-4 on
# tinytales, for weights of 2 to 8 bits alike. What costs less than ten times this cannot be told apart any finer.
ORDER_KL = 4e-4

# Mean KL that rounding of log-probabilities to float32 leaves of equal distributions: half an ulp of a value of about 10 is
# 5e-7, and over a thousand positions the errors average out to less than a tenth of that (2.4e-8 at most was seen).
FLOAT32_KL = 5e-8


# Texts on which tokenizers differ first.
TRICKY_TEXTS = [
    "Hello, world!",
    "  two leading spaces and a trailing one ",
    "It's 12345 o'clock; we'll pay $3.14 (or 2,000,000).",
    "tabs\tand\n\nnew lines\r\n   then   spaces",
    "naïve café, Größe, Привет, 你好, 日本語, 한국어, 😀👩‍👩‍👧",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ________ ------ !!!!!!",
]


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def data_dir():
    """The folder of large real inputs, or the end of this test, counted as skipped."""
    root = pathlib.Path(__file__).resolve().parents[2]
    path = pathlib.Path(os.environ.get("KERF_DATA") or root / ".." / "shared")
    if not (path / "models").is_dir():
        skip(f"needs the models in {path}; set KERF_DATA to the folder that holds models/ and text/")
    return path


def random_model(name):
    """A checkpoint that is made for this test: "qwen2", or "qwen2.float32" (random_checkpoint.py)."""
    import random_checkpoint

    family, _, dtype = name.partition(".")
    folder = tempfile.TemporaryDirectory(prefix="kerf-interop-random-")
    atexit.register(folder.cleanup)
    tokenizers = data_dir() / "tokenizers"
    if not tokenizers.is_dir():
        skip(f"needs the tokenizers in {tokenizers}")
    random_checkpoint.write(family, dtype or "bfloat16", pathlib.Path(folder.name) / name, tokenizers)
    return pathlib.Path(folder.name) / name


def resolve(path):
    """`path`, where a leading DATA/ stands for the folder of large real inputs, and RANDOM/ for a random checkpoint."""
    if path.startswith("RANDOM/"):
        return random_model(path[7:])
    return data_dir() / path[5:] if path.startswith("DATA/") else pathlib.Path(path)


def show(command):
    print("$", " ".join(map(str, command)), flush=True)


class Kerf:
    """The program under test. Every call must succeed."""

    def __init__(self, program):
        self.program = program

    def __call__(self, *arguments):
        command = [self.program, *map(str, arguments)]
        show(command)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"FAILED: exit code {done.returncode}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def log_probabilities(self, model, file, *arguments):
        self("eval", model, "--logits", file, *arguments)
        return np.load(file, mmap_mode="r")

    def ids(self, model, text_file):
        return self.json("tokenize", model, "--text", text_file)["ids"]


def llama_cpp(job, file, work):
    """What llama_cpp_logits.mjs says of a job, and the log-probabilities that it wrote to `file`. Needs the light readers."""
    job_file = work / "job.json"
    job_file.write_text(json.dumps(job), encoding="utf-8")
    environment = pathlib.Path(os.environ["KERF_INTEROP_DIR"])
    driver = pathlib.Path(__file__).with_name("llama_cpp_logits.mjs")
    command = [environment / "venv" / "bin" / "node", driver, environment, job_file, file]
    show(command)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: llama.cpp's driver ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]), np.load(file, mmap_mode="r")


class Setting:
    """What a test is told to do, from its command line: kerf, model, windows of text, and `options`. `required` names the
    options that this test needs besides --kerf."""

    def __init__(self, *required, windows=8):
        parser = argparse.ArgumentParser()
        for name in ("kerf", *required):
            parser.add_argument(f"--{name}", required=True)
        parser.add_argument("--ctx", type=int, default=256)
        parser.add_argument("--windows", type=int, default=windows)
        parser.add_argument("--skip-tokens", type=int, default=0)
        parser.add_argument("--method", default="rtn")
        parser.add_argument("--calib", help="text that --method is calibrated on")
        parser.add_argument("--flash-attention", choices=["on", "off"], help="of llama.cpp; default: auto, and kerf's own")
        parser.add_argument("--kv-cache", help="type of llama.cpp's key/value cache, as kerf calls it")
        parser.add_argument("--distill", help="phases, as kerf compress has it")
        parser.add_argument("--dtype", help="of the packed model, as kerf compress has it")
        parser.add_argument("--prune", help="of the model before anything else, as kerf compress has it; needs --prune-calib")
        parser.add_argument("--prune-calib", help="text that --prune is calibrated on")
        self.options = parser.parse_args()
        self.kerf = Kerf(self.options.kerf)
        if "model" in required:
            self.model = resolve(self.options.model)
            if self.options.prune:
                self.model = self.pruned(self.model)
            self.config = json.loads((self.model / "config.json").read_text(encoding="utf-8"))
        o = self.options
        self.windows = Windows(resolve(o.text), ctx=o.ctx, count=o.windows, skip=o.skip_tokens)

    def pruned(self, model):
        """The plain checkpoint that pruning leaves of it: from then on the model of this test."""
        folder = tempfile.TemporaryDirectory(prefix="kerf-interop-pruned-")
        atexit.register(folder.cleanup)
        out = pathlib.Path(folder.name) / "model"
        calibration = resolve(self.options.prune_calib)
        self.kerf("compress", model, "--target", "checkpoint", "--prune", self.options.prune, "--calib", calibration,
                  "--calib-windows", 32, "-o", out)
        return out

    def ids(self):
        return self.windows.cut(self.kerf.ids(self.model, self.windows.text), self.config["bos_token_id"])

    def log_probabilities(self, model, file, *arguments):
        return self.kerf.log_probabilities(model, file, *arguments, *self.windows.options())

    def adapter_options(self, out):
        """With which kerf computes what --distill lora has made of the folder."""
        return ["--adapter", out / "adapter"] if (out / "adapter").exists() else []

    def llama_cpp_options(self):
        """With which kerf computes a GGUF file."""
        given = {"--flash-attention": self.options.flash_attention, "--kv-cache": self.options.kv_cache}
        return [part for flag, value in given.items() if value for part in (flag, value)]

    def llama_cpp_job(self):
        """The same for llama.cpp."""
        return {
            "flash_attention": {None: "auto", "on": True, "off": False}[self.options.flash_attention],
            "cache": (self.options.kv_cache or "f16").upper(),
        }

    def compress(self, target, out):
        """Packs the model; what the report says of the target."""
        how = ["--method", self.options.method]
        if self.options.calib:
            how += ["--calib", resolve(self.options.calib)]
        if self.options.distill:
            how += ["--distill", self.options.distill, "--steps", 2, "--distill-batch", 2, "--calib-windows", 16]
        if self.options.dtype:
            how += ["--dtype", self.options.dtype]
        return self.kerf.json("compress", self.model, "--target", target, *how, *self.windows.options(),
                              *self.llama_cpp_options(), "-o", out)["targets"][0]


@contextlib.contextmanager
def workplace():
    with tempfile.TemporaryDirectory(prefix="kerf-interop-") as work:
        yield pathlib.Path(work)


@dataclasses.dataclass
class Windows:
    """The rule of kerf eval: after `skip` ids of the text, windows of BOS and ctx - 1 ids, one after another."""

    text: pathlib.Path
    ctx: int
    count: int
    skip: int

    def options(self):
        return ["--text", self.text, "--ctx", self.ctx, "--windows", self.count, "--skip-tokens", self.skip]

    def cut(self, ids, bos):
        step = self.ctx - 1
        ids = ids[self.skip :]
        if len(ids) < self.count * step:
            sys.exit(f"FAILED: the text has {len(ids)} ids left, {self.count} windows of {step} need more")
        return [[bos, *ids[i * step : (i + 1) * step]] for i in range(self.count)]


def mean_kl(p, q):
    """Mean over the scored positions of KL(p || q), in nats."""
    sums = []
    for of_p, of_q in zip(p, q):
        for begin in range(0, len(of_p) - 1, 32):  # wide vocabularies make large tables
            rows = slice(begin, min(begin + 32, len(of_p) - 1))
            a, b = of_p[rows].astype(np.float64), of_q[rows].astype(np.float64)
            sums.extend((np.exp(a) * (a - b)).sum(axis=-1))
    return float(np.mean(sums))


def perplexity(log_p, windows):
    scores = [row[np.arange(len(ids) - 1), ids[1:]].astype(np.float64) for row, ids in zip(log_p, windows)]
    return float(np.exp(-np.mean(scores)))


class Checks:
    """Prints each comparison as it is made; `finish` ends the test."""

    def __init__(self):
        self.failed = 0

    def that(self, holds, sentence):
        print("ok     " if holds else "FAILED ", sentence, flush=True)
        self.failed += not holds

    def close(self, what, mine, theirs, relative, absolute=0):
        difference = abs(mine - theirs) / abs(theirs) if theirs else abs(mine)
        limit = f"{100 * relative:g} %" + (f" or {absolute:g}" if absolute else "")
        self.that(
            difference <= relative or abs(mine - theirs) <= absolute,
            f"{what}: kerf {mine:.6g}, runtime {theirs:.6g}, apart by {100 * difference:.4f} % (limit {limit})",
        )

    def finish(self):
        sys.exit(1 if self.failed else 0)
