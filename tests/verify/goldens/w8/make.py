"""Small matrices of bytes packed by compressed-tensors 0.20.0, and what it decodes them to.

  make.py      writes goldens.safetensors and goldens.json beside itself

In goldens.json: for each module its quantization_config and the dtype of the model around it. In the tensors: the module's
own, and MODULE.expected, the weight [out, in] as the package decodes it.
"""
import json
import pathlib

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

tensors, cases = {}, {}


def add(kind, strategy, dtype, rows, cols):
    model = getattr(torch, dtype)
    shape = {"tensor": (1,), "channel": (rows, 1), "block": (-(-rows // 128), -(-cols // 128))}[strategy]
    g = torch.Generator().manual_seed(rows + cols)
    weight = (torch.randn(rows, cols, generator=g) * 0.05).to(model)
    scale = (torch.rand(shape, generator=g) * 1e-3 + 1e-4).to(model)
    weights = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": strategy}
    inputs = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
    if strategy == "block":
        weights["block_structure"] = [128, 128]
        inputs |= {"strategy": "group", "group_size": 128}
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights),
                                input_activations=QuantizationArgs(**inputs))
    compressor = BaseCompressor.get_value_from_registry(f"{kind}-quantized")
    packed = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    decoded = compressor.decompress(packed, scheme)["weight"]
    name = f"{kind}_{strategy}_{dtype}"
    for key, value in packed.items():
        tensors[f"{name}.{key}"] = value.contiguous()
    tensors[f"{name}.expected"] = decoded.contiguous()
    config = {"quant_method": "compressed-tensors", "format": f"{kind}-quantized", "version": "0.20.0",
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}}}
    cases[name] = {"quantization_config": config, "dtype": dtype}


for dtype in ("bfloat16", "float16", "float32"):
    add("int", "channel", dtype, 24, 40)
    add("float", "channel", dtype, 24, 40)
    add("float", "tensor", dtype, 8, 40)
add("float", "block", "bfloat16", 130, 256)

here = pathlib.Path(__file__).resolve().parent
save_file(tensors, here / "goldens.safetensors", metadata={"format": "pt"})
(here / "goldens.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
