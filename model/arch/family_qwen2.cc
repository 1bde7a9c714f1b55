// Qwen 2 and 2.5: Llama's block with biases on queries, keys and values. Source: transformers, models/qwen2.
#include <nlohmann/json.hpp>

#include "model/arch/decoder.h"
#include "model/arch/gguf_decoder.h"
#include "model/arch/qwen.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen2"};
constexpr std::string_view kArchitectures[] = {"Qwen2ForCausalLM", "Qwen2Model"};
constexpr QwenStyle kStyle{.family = "qwen2",
                           .model_type = "qwen2",
                           .architecture = "Qwen2ForCausalLM",
                           .defaults = {.kv_heads = 32},
                           .qkv_bias = true};

}  // namespace

const ArchitectureFamily& family_qwen2() {
  static const ArchitectureFamily family{
      .name = "qwen2",
      .model_types = kModelTypes,
      .architectures = kArchitectures,
      .describe = [](const ConfigReader& c) { return describe_qwen(c, kStyle); },
      .write_config = [](const Architecture& a) { return write_qwen_config(a, kStyle); },
      .gguf = "qwen2",
      .gguf_keys = kGgufDecoderKeys,
      .read_gguf = [](const GgufFacts& file, nlohmann::json& c) { read_qwen_gguf(file, "qwen2", c); },
      .write_gguf = write_qwen_gguf,
      .gguf_refuses =
          [](const Architecture& a) {
            const Dimensions d = dimensions_of(a);
            if (d.heads * d.head_dim != d.hidden)
              return std::string(
                  "its heads together are not as wide as its hidden state, which llama.cpp expects of qwen2");
            return qwen_gguf_refuses(a);
          }};
  return family;
}

}  // namespace kerf
