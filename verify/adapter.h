// Low-rank adapters in files of their own (LoRA, arXiv 2106.09685), as PEFT and llama.cpp write and load them: beside a
// matrix W of their model, y = W x + scale B (A x).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "core/dtype.h"
#include "core/low_rank.h"
#include "verify/artifact.h"

namespace kerf {

struct Adapter {
  struct OfMatrix {
    LowRank factors;          // rows in the checkpoint's order
    float scale = 1;          // alpha / rank
    Dtype type = Dtype::f32;  // that the factors are stored in
  };
  std::filesystem::path path;
  std::map<std::string, OfMatrix> matrices;  // by the checkpoint's tensor names
  std::vector<std::filesystem::path> files;  // that hold factors
  uint64_t bytes = 0;                        // of those files
};

/// Where kerf puts an adapter that it trains, in the folder of the model that it is for.
inline constexpr std::string_view kAdapterFolder = "adapter";

/// PEFT's folder (adapter_config.json, adapter_model.safetensors), or a GGUF of the type "adapter", or a folder that
/// holds one, for a model of the same kind. Error bad_input for one that is damaged or does not fit the model's shapes,
/// unsupported for what is not plain LoRA on matrices of blocks (named), numerical for NaN and infinity.
Adapter open_adapter(const std::filesystem::path&, const Artifact& model);

/// Such a folder beside a model; nothing where there is none.
std::optional<std::filesystem::path> adapter_beside(const Artifact&);
/// A warning where such a folder lies beside a model that is measured without it.
void say_left_out(const Artifact&);
/// Error usage when an adapter is given for a folder of several models.
void refuse_adapter_of_several(const std::string& folder, size_t models);

/// From now on the artifact is computed with the adapter, and its files and bytes are among the model's.
void set_adapter(Artifact&, const std::filesystem::path&);

}  // namespace kerf
