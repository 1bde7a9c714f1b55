// Qwen 3: Llama's block with queries and keys normalised by head before they are rotated. Source: transformers,
// models/qwen3.
#include <nlohmann/json.hpp>

#include "model/arch/decoder.h"
#include "model/arch/gguf_decoder.h"
#include "model/arch/qwen.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen3"};
constexpr std::string_view kArchitectures[] = {"Qwen3ForCausalLM", "Qwen3Model"};

QwenStyle style(bool bias) {
  return {.family = "qwen3",
          .model_type = "qwen3",
          .architecture = "Qwen3ForCausalLM",
          .defaults = {.kv_heads = 32, .head_dim = 128},
          .qkv_bias = bias,
          .o_bias = bias,
          .head_norms = true};
}

Architecture describe(const ConfigReader& config) {
  return describe_qwen(config, style(config.flag_or("attention_bias", false)));
}

nlohmann::ordered_json write(const Architecture& a) {
  nlohmann::ordered_json c = write_qwen_config(a, style(false));
  c["attention_bias"] = has_bias(a, "attn_q");
  return c;
}

void read_gguf(const GgufFacts& file, nlohmann::json& config) {
  read_qwen_gguf(file, "qwen3", config);
  config["attention_bias"] = has_tensor(file, "blk.0.attn_q.bias");
}

}  // namespace

const ArchitectureFamily& family_qwen3() {
  static const ArchitectureFamily family{.name = "qwen3",
                                         .model_types = kModelTypes,
                                         .architectures = kArchitectures,
                                         .describe = describe,
                                         .write_config = write,
                                         .gguf = "qwen3",
                                         .gguf_keys = kGgufDecoderKeys,
                                         .read_gguf = read_gguf,
                                         .write_gguf = write_qwen_gguf,
                                         .gguf_refuses = qwen_gguf_refuses};
  return family;
}

}  // namespace kerf
