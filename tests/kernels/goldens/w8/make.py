#!/usr/bin/env python3
"""How the compressed-tensors package rounds activations to 8 bits and dequantizes 8-bit weights, as bits.

  make.py > package.txt        (compressed-tensors 0.20.0, torch 2.15.0, CPU)

Each case is a line "activations|weights FORMAT DTYPE ROWS COLS GROUP" and two lines of hexadecimal float32 (weights: codes
as bytes, then scales): what goes in, row after row, and what comes out. Rows of activations are: of either sign with one
large value; zeros; tiny; and halfway between two codes.
"""
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationStatus
from compressed_tensors.quantization.lifecycle.forward import dequantize, forward_quantize

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def hexadecimal(t):
    return " ".join(f"{v & 0xffffffff:x}" for v in t.float().contiguous().view(torch.int32).flatten().tolist())


class Module(torch.nn.Module):
    quantization_status = QuantizationStatus.FROZEN


def activations(kind, dtype, cols, group):
    generator = torch.Generator().manual_seed(cols)
    x = torch.randn(4, cols, generator=generator) * 2
    x[0, 5] = -17.3
    x[1] = 0
    x[2] *= 3e-7
    x[3] = (torch.arange(cols) % 127) + 0.5
    x[3, 0] = 127.5
    x = x.to(dtype)
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "token"}
    args = QuantizationArgs(num_bits=8, type=kind, symmetric=True, dynamic=True, **strategy)
    y = forward_quantize(Module(), x.unsqueeze(0), "input", args)[0]
    assert y.dtype == dtype
    return x, y


def weights(kind, dtype, rows, cols, strategy):
    generator = torch.Generator().manual_seed(rows)
    shape = {"tensor": (1,), "channel": (rows, 1), "block": (-(-rows // 128), -(-cols // 128))}[strategy]
    scale = (torch.rand(shape, generator=generator) * 0.01 + 1e-4).to(dtype)
    codes = torch.arange(rows * cols).reshape(rows, cols).to(torch.uint8)
    extra = {"block_structure": [128, 128]} if strategy == "block" else {}
    args = QuantizationArgs(num_bits=8, type=kind, symmetric=True, strategy=strategy, **extra)
    if kind == "int":
        q = codes.view(torch.int8)
    else:
        codes[(codes & 0x7F) == 0x7F] = 0x7E
        q = codes.view(torch.float8_e4m3fn)
    return codes, scale, dequantize(q, scale, args=args)


def main():
    for kind, name in (("int", "ct-w8a8"), ("float", "ct-fp8")):
        for dtype_name, dtype in TYPES.items():
            for cols, group in ((40, 0), (64, 32)):
                if group and kind == "int":
                    continue
                x, y = activations(kind, dtype, cols, group)
                print("activations", name, dtype_name, 4, cols, group or cols)
                print(hexadecimal(x))
                print(hexadecimal(y))
            for strategy in ("tensor", "channel", "block"):
                if strategy == "block" and kind == "int":
                    continue
                rows, cols = (2, 130) if strategy == "block" else (6, 43)
                codes, scale, w = weights(kind, dtype, rows, cols, strategy)
                print("weights", name, dtype_name, rows, cols, strategy)
                print(codes.flatten().numpy().tobytes().hex())
                print(hexadecimal(scale))
                print(hexadecimal(w))


main()
