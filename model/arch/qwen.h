// What Qwen 2 and Qwen 3 have in common (transformers, models/qwen2 and models/qwen3): Llama's block, windows on layers
// behind max_window_layers, no bias but that of queries, keys and values.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/arch/config_reader.h"
#include "model/arch/family.h"

namespace kerf {

struct QwenStyle {
  const char *family, *model_type, *architecture;
  DimensionDefaults defaults;
  bool qkv_bias = false, o_bias = false;
  bool head_norms = false;  // q and k are normalised by head, before they are rotated
};

Architecture describe_qwen(const ConfigReader&, const QwenStyle&);
nlohmann::ordered_json write_qwen_config(const Architecture&, const QwenStyle&);
void read_qwen_gguf(const GgufFacts&, std::string_view architecture, nlohmann::json& config);
void write_qwen_gguf(const Architecture&, GgufKeys&);
std::string qwen_gguf_refuses(const Architecture&);

}  // namespace kerf
