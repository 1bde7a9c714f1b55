#!/usr/bin/env python3
"""What the blocks of every GGUF type stand for, by the gguf package and by llama.cpp.

  make.py LIBGGML_BASE > dequantized.txt     (gguf 0.19.0; libggml-base.so of llama.cpp v0.5.0)

A line is a type, its id, the weights and the bytes of one of its blocks, and the SHA-256 of the float32 numbers in BLOCKS blocks of pseudorandom
bytes (every NaN as 0x7fc00000). The bytes are the upper ones of x = 1664525 x + 1013904223 mod 2^32, from x = the type's
id. Both readers must agree; Q1_0 and Q2_0 are not in the package.
"""
import ctypes
import hashlib
import sys

import gguf
import numpy as np

BLOCKS = 300
NOT_IN_PACKAGE = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}


def pseudorandom(seed, n):
    out = bytearray(n)
    for i in range(n):
        seed = (1664525 * seed + 1013904223) & 0xFFFFFFFF
        out[i] = seed >> 24
    return bytes(out)


def of_llama_cpp(library, name, data, weights):
    out = np.empty(BLOCKS * weights, np.float32)
    function = getattr(library, "dequantize_row_" + name.lower().replace("_k", "_K"))
    function(data, out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size))
    return out


def canonical(values):
    bits = values.astype(np.float32).view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    return bits


def main():
    library = ctypes.CDLL(sys.argv[1])
    types = {t.name: (t.value, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType}
    types |= NOT_IN_PACKAGE
    for name, (number, weights, size) in sorted(types.items(), key=lambda item: item[1]):
        if weights == 1 or name in ("Q8_1", "Q8_K"):  # plain numbers, and activations
            continue
        data = pseudorandom(number, BLOCKS * size)
        with np.errstate(all="ignore"):
            values = canonical(of_llama_cpp(library, name, data, weights))
            if name not in NOT_IN_PACKAGE:
                blocks = np.frombuffer(data, np.uint8).reshape(BLOCKS, size)
                theirs = canonical(gguf.dequantize(blocks, gguf.GGMLQuantizationType[name]).flatten())
                assert np.array_equal(values, theirs), f"{name}: the package and llama.cpp differ"
        print(name, number, weights, size, hashlib.sha256(values.tobytes()).hexdigest())


main()
