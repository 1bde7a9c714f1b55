#!/usr/bin/env python3
"""Reads containers with the libraries of PyPI (safetensors, gguf) and prints what they saw.

  read_containers.py [--kerf KERF] [--values] PATH...

PATH is a .gguf file, a .safetensors file, or a folder with model.safetensors or its index. stdout gets one JSON object
per path:
  {"path", "container", "metadata": {key: value},
   "tensors": [{"name", "type", "shape" (slowest first), "bytes", "sha256", "float32_sha256"}]}
sha256 is taken over the stored bytes; float32_sha256 (with --values, for the types the library can expand) over the
dequantized values as little-endian float32. A file that a library refuses ends the run with exit code 1.

With --kerf, `KERF inspect PATH --json` is run as well, and every tensor that either of the two lists must be listed by
the other with the same type and shape, and the same bytes, sha256 and float32_sha256 wherever kerf states them.
Differences go to stderr; any makes the exit code 1.

Needs: gguf, safetensors, numpy.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def float32_of_safetensors(dtype, data):
    """The values of a float tensor as float32, or None for other dtypes."""
    if dtype == "F32":
        return np.frombuffer(data, "<f4")
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype("<f4")
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return None


def read_safetensors_file(path, values):
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as f:
        metadata = f.metadata() or {}
    tensors = []
    for name, t in safetensors.deserialize(path.read_bytes()):
        data = bytes(t["data"])
        row = {"name": name, "type": t["dtype"], "shape": list(t["shape"]), "bytes": len(data), "sha256": sha256(data)}
        expanded = float32_of_safetensors(t["dtype"], data) if values else None
        if expanded is not None:
            row["float32_sha256"] = sha256(expanded.tobytes())
        tensors.append(row)
    return metadata, tensors


def read_safetensors(path, values):
    if path.is_dir():
        single, index = path / "model.safetensors", path / "model.safetensors.index.json"
        if single.exists():
            return read_safetensors_file(single, values)
        path = index
    if path.suffix != ".json":
        return read_safetensors_file(path, values)
    index = json.loads(path.read_text(encoding="utf-8"))
    metadata, tensors = {}, []
    for shard in sorted(set(index["weight_map"].values())):
        more, rows = read_safetensors_file(path.parent / shard, values)
        metadata = {**more, **metadata}
        for row in rows:
            if index["weight_map"].get(row["name"]) != shard:
                sys.exit(f"{path}: the index does not say that {row['name']} lies in {shard}")
        tensors += rows
    if len(tensors) != len(index["weight_map"]):
        sys.exit(f"{path}: the index names {len(index['weight_map'])} tensors, the shards hold {len(tensors)}")
    total = sum(row["bytes"] for row in tensors)
    if index["metadata"]["total_size"] != total:
        sys.exit(f"{path}: total_size is {index['metadata']['total_size']}, the tensors have {total} bytes")
    return metadata, tensors


def read_gguf(path, values):
    import gguf

    reader = gguf.GGUFReader(path)
    metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = []
    for t in reader.tensors:
        data = t.data.tobytes()
        row = {
            "name": t.name,
            "type": t.tensor_type.name,
            "shape": [int(d) for d in reversed(t.shape)],
            "bytes": int(t.n_bytes),
            "sha256": sha256(data),
        }
        if values:
            try:
                expanded = gguf.quants.dequantize(t.data, t.tensor_type)
            except NotImplementedError:
                expanded = None
            if expanded is not None:
                row["float32_sha256"] = sha256(np.ascontiguousarray(expanded, "<f4").tobytes())
        tensors.append(row)
    return metadata, tensors


def read(path, values):
    container = "gguf" if path.suffix == ".gguf" else "safetensors"
    metadata, tensors = (read_gguf if container == "gguf" else read_safetensors)(path, values)
    return {"path": str(path), "container": container, "metadata": metadata, "tensors": tensors}


def differences(ours, theirs):
    """Sentences on what kerf's listing (ours) and the library's (theirs) do not agree on."""
    ours = {t["name"]: t for t in ours}
    theirs = {t["name"]: t for t in theirs}
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            yield f"the tensor {name} is listed only by {'the library' if name in theirs else 'kerf'}"
            continue
        for key in ("type", "shape", "bytes", "sha256", "float32_sha256"):
            required = key in ("type", "shape")
            if key in theirs[name] and (required or key in ours[name]) and ours[name].get(key) != theirs[name][key]:
                yield f"{name}: {key} is {ours[name].get(key)} for kerf and {theirs[name][key]} for the library"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kerf", help="the kerf program, whose `inspect --json` is compared")
    parser.add_argument("--values", action="store_true", help="expand the tensors and hash their values too")
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    wrong = 0
    for path in args.paths:
        seen = read(path, args.values)
        print(json.dumps(seen, ensure_ascii=False))
        if args.kerf:
            out = subprocess.run([args.kerf, "inspect", str(path), "--json"], check=True, capture_output=True)
            for sentence in differences(json.loads(out.stdout)["tensors"], seen["tensors"]):
                print(f"{path}: {sentence}", file=sys.stderr)
                wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
