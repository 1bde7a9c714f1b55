"""Small matrices packed by the packages that define the formats, and what those packages decode them to.

  make.py      writes goldens.safetensors and goldens.json beside itself

gptqmodel 7.7.0 packs GPTQ and AWQ (nn_modules/qlinear/torch.py, torch_awq.py), compressed-tensors 0.20.0 packs
"pack-quantized". In goldens.json: for each module its quantization_config and the dtype of the model around it. In the
tensors: the module's own, and MODULE.expected, the weight [out, in] as the package decodes it.
"""
import json
import os
import pathlib

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["GPTQMODEL_CPU_WORKERS"] = "1"

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
from gptqmodel.quantization import FORMAT
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
from safetensors.torch import save_file

OUT, IN = 32, 64
tensors, cases = {}, {}


def parameters(bits, group, symmetric, seed, lowest=0):
    """(codes [OUT, IN], scales in F16 [OUT, groups] of either sign, zero points [OUT, groups])."""
    g = torch.Generator().manual_seed(seed)
    groups = IN // group
    codes = torch.randint(0, 2**bits, (OUT, IN), generator=g)
    scales = (torch.rand(OUT, groups, generator=g) * 0.1 + 0.001) * torch.sign(torch.randn(OUT, groups, generator=g))
    zeros = torch.randint(lowest, 2**bits, (OUT, groups), generator=g)
    if symmetric:
        zeros = torch.full_like(zeros, 2 ** (bits - 1))
    return codes, scales.half(), zeros


def linear_of(codes, scales, zeros, index):
    """A linear layer whose weight is exactly on the grid, for packers that round for themselves."""
    layer = torch.nn.Linear(IN, OUT, bias=False)
    layer.weight.data = (codes - zeros[:, index]).float() * scales.float()[:, index]
    return layer


def add(name, own, expected, config, dtype):
    for key, value in own.items():
        tensors[f"{name}.{key}"] = value.contiguous()
    tensors[f"{name}.expected"] = expected.contiguous()
    cases[name] = {"quantization_config": config, "dtype": dtype}


def gptq(bits, group, symmetric, version, desc_act=False):
    name = f"gptq_w{bits}_g{group}{'' if symmetric else '_asym'}_v{version}{'_desc_act' if desc_act else ''}"
    codes, scales, zeros = parameters(bits, group, symmetric, bits * 100 + group, lowest=2 - version)
    index = torch.arange(IN) // group
    if desc_act:
        index = index[torch.randperm(IN, generator=torch.Generator().manual_seed(1))]
    module = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=desc_act, in_features=IN,
                         out_features=OUT, bias=False, register_buffers=True, format=FORMAT.GPTQ_V2)
    stored = zeros - 1 if version == 1 else zeros  # as GPTQModel writes v1: the packer itself knows v2 only
    module.pack_original(linear_of(codes, scales, zeros, index), scales.float(), zeros.float(), index.to(torch.int32))
    own = {key: getattr(module, key).clone() for key in ("qweight", "scales", "g_idx")}
    if version == 1:
        # The words of zero points alone, from a packer that is given zero - 1.
        other = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=desc_act, in_features=IN,
                            out_features=OUT, bias=False, register_buffers=True, format=FORMAT.GPTQ_V2)
        other.pack_original(linear_of(codes, scales, stored, index), scales.float(), stored.float(),
                            index.to(torch.int32))
        own["qzeros"] = other.qzeros.clone()
        module.qzeros = other.qzeros.clone()
        convert_gptq_v1_to_v2_format_module(module, bits=bits, pack_dtype=torch.int32)  # what the loader does
    else:
        own["qzeros"] = module.qzeros.clone()
    module.post_init()
    module.eval()
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": desc_act,
              "checkpoint_format": "gptq" if version == 1 else "gptq_v2"}
    add(name, own, module.dequantize_weight().T, config, "float16")


def awq(group, symmetric, dtype):
    name = f"awq_g{group}{'_sym' if symmetric else ''}_{dtype}"
    codes, scales, zeros = parameters(4, group, symmetric, 7 + group)
    module = AwqTorchLinear(bits=4, group_size=group, sym=symmetric, desc_act=False, in_features=IN, out_features=OUT,
                            bias=False, register_buffers=True)
    module.pack(linear_of(codes, scales, zeros, torch.arange(IN) // group), scales, zeros)
    own = {key: getattr(module, key).clone() for key in ("qweight", "qzeros", "scales")}
    decoded = dequantize_gemm(own["qweight"], own["qzeros"], own["scales"], 4, group)
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    add(name, own, decoded.to(getattr(torch, dtype)).T, config, dtype)


def pack_quantized(bits, group, symmetric, dtype):
    """group None: channel."""
    name = f"ct_w{bits}_{'channel' if group is None else f'g{group}'}{'' if symmetric else '_asym'}_{dtype}"
    size = group or IN
    codes, scales, zeros = parameters(bits, size, symmetric, 31 * bits + size)
    scales = scales.float().to(getattr(torch, dtype))
    half = 2 ** (bits - 1)
    index = torch.arange(IN) // size
    weight = ((codes - zeros[:, index]).float() * scales.float()[:, index]).to(scales.dtype)
    arguments = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel"}
    if group:
        arguments["group_size"] = group
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))
    state = {"weight": weight, "weight_scale": scales}
    if not symmetric:
        state["weight_zero_point"] = (zeros - half).to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    packed = compressor.compress(state, scheme)
    decoded = compressor.decompress(packed, scheme)["weight"]
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "version": "0.20.0",
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": arguments}}}
    add(name, packed, decoded, config, dtype)


for bits in (2, 3, 4, 8):
    gptq(bits, 32, True, 1)
    gptq(bits, 16, False, 1)
    gptq(bits, 16, False, 2)
gptq(4, 16, True, 1, desc_act=True)
awq(32, False, "float16")
awq(16, True, "bfloat16")
for bits in range(2, 9):
    pack_quantized(bits, 16, True, "bfloat16")
    pack_quantized(bits, 32, False, "float16")
pack_quantized(4, None, True, "float32")
pack_quantized(3, None, False, "bfloat16")

here = pathlib.Path(__file__).resolve().parent
save_file(tensors, here / "goldens.safetensors", metadata={"format": "pt"})
(here / "goldens.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
print(len(cases), "modules,", (here / "goldens.safetensors").stat().st_size, "bytes")
