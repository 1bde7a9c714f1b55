#!/usr/bin/env python3
"""PyPI's gguf and safetensors read what kerf writes: the same tensors, and bitwise the same decoded values.

  containers.py --kerf KERF --model MODEL --text FILE

Packs the model for llama.cpp (Q8_0, Q4_0) and vLLM (4-bit groups of 32). Every tensor of every file is decoded twice,
by kerf (`inspect --tensor`) and from the library's bytes: with gguf's own dequantization, or, for packed
compressed-tensors matrices, by the few lines below.
"""
import gguf
import numpy as np
import safetensors

from interop import Checks, Setting, workplace
from read_containers import differences, float32_of_safetensors, read

TARGETS = "llama.cpp-cpu:Q8_0,llama.cpp-cpu:Q4_0,vllm:w4a16-g32"


def gguf_values(path):
    for t in gguf.GGUFReader(path).tensors:
        shape = [int(n) for n in reversed(t.shape)]
        yield t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype("<f4").reshape(shape)


def unpack_int4(words, rows, cols):
    """int32 words along a row, element j in bits 4j..4j+3 of its word, stored as code + 8."""
    nibbles = (words.view("<u4")[:, :, None] >> np.arange(0, 32, 4, dtype="<u4")) & 15
    return nibbles.reshape(rows, -1)[:, :cols].astype("<f4") - 8


def round_bfloat16(values):
    """Finite float32 values to the nearest bfloat16, ties to even: what a bfloat16 model computes with."""
    bits = values.view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype("<u4").view("<f4")


def safetensors_values(path):
    stored = {name: t for name, t in safetensors.deserialize((path / "model.safetensors").read_bytes())}
    for name, t in stored.items():
        if name.endswith((".weight_scale", ".weight_shape")):
            continue
        data = bytes(t["data"])
        if not name.endswith(".weight_packed"):
            yield name, float32_of_safetensors(t["dtype"], data).reshape(t["shape"])
            continue
        module = name.removesuffix(".weight_packed")
        rows, cols = np.frombuffer(bytes(stored[module + ".weight_shape"]["data"]), "<i8")
        scale = stored[module + ".weight_scale"]
        scales = float32_of_safetensors(scale["dtype"], bytes(scale["data"])).reshape(rows, -1)
        codes = unpack_int4(np.frombuffer(data, "<i4").reshape(rows, -1), rows, cols)
        values = codes * np.repeat(scales, cols // scales.shape[1], axis=1)
        yield module + ".weight", round_bfloat16(values) if scale["dtype"] == "BF16" else values


def main():
    setting = Setting("model", "text")
    kerf, model, text = setting.kerf, setting.model, setting.windows.text
    checks = Checks()
    with workplace() as work:
        kerf("compress", model, "--target", TARGETS, "--text", text, "--windows", 1, "-o", work / "packed")
        folder = work / "packed" / "vllm-w4a16-g32"
        files = [(path, gguf_values) for path in sorted((work / "packed").rglob("*.gguf"))]
        checks.that(len(files) == 2, f"{len(files)} GGUF files were written")
        for path, values in [*files, (folder, safetensors_values)]:
            listed = kerf.json("inspect", path)["tensors"]
            wrong = list(differences(listed, read(path, values=False)["tensors"]))
            checks.that(not wrong, f"{path.name}: {len(listed)} tensors listed alike" + "".join(f"\n        {w}" for w in wrong))
            different, count = [], 0
            for name, theirs in values(path):
                kerf("inspect", path, "--tensor", name, "--npy", work / "tensor.npy")
                mine = np.load(work / "tensor.npy")
                count += 1
                if mine.dtype != np.float32 or mine.shape != theirs.shape or mine.tobytes() != theirs.tobytes():
                    different.append(name)
            checks.that(count > 0 and not different, f"{path.name}: {count} tensors decode to the same bits {different or ''}")
    checks.finish()


main()
