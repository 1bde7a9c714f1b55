// The model that `kerf compress` starts from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "verify/artifact.h"

namespace kerf {

struct Source {
  Artifact model;
  /// What a reader of the report must know of it; said in the log as well.
  std::vector<std::string> remarks;
};

/// A checkpoint, or a GGUF file of F16, BF16 or F32. Its architecture's dtype says in which type all of its numbers are
/// exact: that of the matrices of a GGUF when its norms and biases are numbers of it too, else F32. With `requantize`
/// also a quantized model: its numbers as its bytes decode, in F32. Error unsupported for one without it.
Source open_source(const std::filesystem::path&, bool requantize);

/// The name of a GGUF source without what says its type: "SmolLM2-135M-F16" and "SmolLM2-135M.bf16" are SmolLM2-135M.
std::string name_without_type(const std::string& name);

}  // namespace kerf
