// An adapter beside packed files, in files of its own.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/low_rank.h"
#include "verify/artifact.h"

namespace kerf {

/// By the checkpoint's tensor names, rows in its order.
using AdapterFactors = std::map<std::string, LowRank>;

/// Write an adapter for a packed model into the kAdapterFolder of its folder: adapter_config.json and
/// adapter_model.safetensors as PEFT has them, and NAME-lora.gguf as llama.cpp loads it (--lora). Numbers are F16, the
/// scale is 1. Return the files. REQUIRES: one rank for all, and factors that F16 holds. Error io.
std::vector<std::filesystem::path> write_peft_adapter(const AdapterFactors&, const Artifact& packed);
std::vector<std::filesystem::path> write_gguf_adapter(const AdapterFactors&, const Artifact& packed);

/// Exact bytes of the files of factors that they write, for a model whose file of weights is called so.
uint64_t peft_adapter_bytes(const Architecture&, int64_t rank, const std::string& weights);
uint64_t gguf_adapter_bytes(const Architecture&, int64_t rank, const std::string& weights);

}  // namespace kerf
