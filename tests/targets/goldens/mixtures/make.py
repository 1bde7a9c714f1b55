#!/usr/bin/env python3
"""Which type llama-quantize gives each matrix: every mixture on several shapes, with and without an importance matrix.

  make.py LLAMA_QUANTIZE > types.txt        (llama.cpp v0.5.0, gguf 0.19.0)

A line "shape NAME key=number..." describes a model; the lines below it hold "MIXTURE plain|imatrix" and for each role
"role=TYPE" where all layers have the same, else "role=TYPE*layers,..." in their order; or "refused". The line with imatrix is
left out where it would say the same. Models are zeros in F16: the types follow from the header alone (--dry-run).
"""
import itertools, os, re, subprocess, sys, tempfile
import gguf
import numpy as np

MIXTURES = """F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS
IQ3_M IQ3_S IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 Q1_0 Q2_0""".split()

SHAPES = {
    "tinytales": dict(hidden=256, ffn=768, layers=4, heads=4, kv_heads=2, tied=1),
    "stories15M": dict(hidden=288, ffn=768, layers=6, heads=6, kv_heads=6, tied=1),
    "stories260K": dict(hidden=64, ffn=172, layers=5, heads=8, kv_heads=4, tied=1),
    "grouped": dict(hidden=512, ffn=1024, layers=17, heads=16, kv_heads=4, tied=0),
    "wide360M": dict(hidden=960, ffn=2560, layers=32, heads=15, kv_heads=5, tied=1),
    "untied135M": dict(hidden=576, ffn=1536, layers=30, heads=9, kv_heads=3, tied=0),
    "deep70B": dict(hidden=256, ffn=512, layers=80, heads=8, kv_heads=1, tied=0),
    "deep65B": dict(hidden=256, ffn=512, layers=80, heads=4, kv_heads=4, tied=1),
}
ROLES = "token_embd output attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
VOCABULARY = 32


def write_model(path, s):
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(s["layers"])
    w.add_context_length(64)
    w.add_embedding_length(s["hidden"])
    w.add_feed_forward_length(s["ffn"])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv_heads"])
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCABULARY)
    h, f, kv = s["hidden"], s["ffn"], s["hidden"] // s["heads"] * s["kv_heads"]
    matrices = {"token_embd": (VOCABULARY, h)} | ({} if s["tied"] else {"output": (VOCABULARY, h)})
    for i in range(s["layers"]):
        for role, shape in dict(attn_q=(h, h), attn_k=(kv, h), attn_v=(kv, h), attn_output=(h, h), ffn_gate=(f, h), ffn_up=(f, h),
                                ffn_down=(h, f)).items():
            matrices[f"blk.{i}.{role}"] = shape
        for norm in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{norm}.weight", np.ones(h, np.float32))
    w.add_tensor("output_norm.weight", np.ones(h, np.float32))
    for name, shape in matrices.items():
        w.add_tensor(name + ".weight", np.zeros(shape, np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_imatrix(path):
    with open(path, "wb") as f:  # one entry is enough for llama-quantize to say that it has one
        name = b"blk.0.attn_q.weight"
        f.write(np.array([1, len(name)], np.int32).tobytes() + name + np.array([1, 4], np.int32).tobytes())
        f.write(np.ones(4, np.float32).tobytes())


def runs(types):
    """Q6_K*2,Q4_K*3; one type for all layers without a number."""
    if len(set(types)) == 1:
        return types[0]
    return ",".join(f"{t}*{len(list(n))}" for t, n in itertools.groupby(types))


def types(program, model, mixture, imatrix):
    command = [program, "--dry-run", *(["--imatrix", imatrix] if imatrix else []), model, mixture]
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode != 0:
        return "refused"
    found = {role: [] for role in ROLES}
    for line in (said.stdout + said.stderr).splitlines():
        m = re.match(r"\[ *\d+/ *\d+\] (?:blk\.(\d+)\.)?(\w+)\.weight .*type = *(\w+), size.*?(?:\((\w+)\))?$", line)
        if m and m[2] in found:
            kept = m[4] is None
            found[m[2]].append((m[3] if kept else m[4]).upper())
    return " ".join(f"{role}={runs(found[role])}" for role in ROLES if found[role])


program = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    model, imatrix = os.path.join(folder, "model.gguf"), os.path.join(folder, "imatrix.dat")
    write_imatrix(imatrix)
    for name, shape in SHAPES.items():
        write_model(model, shape)
        print("shape", name, *(f"{k}={v}" for k, v in shape.items()))
        for mixture in MIXTURES:
            plain, with_imatrix = types(program, model, mixture, None), types(program, model, mixture, imatrix)
            print(mixture, "plain", plain)
            if with_imatrix != plain:
                print(mixture, "imatrix", with_imatrix)
