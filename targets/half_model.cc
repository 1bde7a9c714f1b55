#include "targets/half_model.h"

#include <nlohmann/json.hpp>
#include <string>

namespace kerf {

std::span<const Dtype> half_types() {
  static constexpr Dtype kTypes[] = {Dtype::bf16, Dtype::f16};
  return kTypes;
}

Dtype half_type(Dtype model) { return model == Dtype::f32 ? Dtype::f16 : model; }

Arithmetic half_arithmetic(Dtype model) {
  const Dtype type = half_type(model);
  return {.stream = type, .attention = type, .fused_attention = true};
}

void set_half_type(nlohmann::ordered_json& config) {
  // Without either key a checkpoint is in float32. transformers 5 writes "dtype", older versions "torch_dtype".
  bool named = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    const auto at = config.find(key);
    if (at == config.end() || !at->is_string()) continue;
    named = true;
    if (*at == "float32") *at = "float16";
  }
  if (!named) config["torch_dtype"] = "float16";
}

}  // namespace kerf
