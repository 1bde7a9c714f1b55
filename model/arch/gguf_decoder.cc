#include "model/arch/gguf_decoder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace kerf {
namespace {

// llama.cpp multiplies sines and cosines of YaRN by this, and by the key rope.scaling.attn_factor
// (src/llama-context.cpp, ggml-cpu/ops.cpp).
double yarn_magnitude(double factor) { return factor > 1 ? 1 + 0.1 * std::log(factor) : 1; }

}  // namespace

void write_gguf_rope(const Architecture& a, const RopeTable& t, GgufKeys& keys) {
  const auto key = [&](const char* name) { return a.gguf_name + ".rope.scaling." + name; };
  if (t.scaling == RopeScaling::linear) {
    keys.emplace_back(key("type"), std::string("linear"));
    keys.emplace_back(key("factor"), static_cast<float>(t.factor));
  }
  if (t.scaling != RopeScaling::yarn) return;
  keys.emplace_back(key("type"), std::string("yarn"));
  keys.emplace_back(key("factor"), static_cast<float>(t.factor));
  keys.emplace_back(key("original_context_length"), static_cast<uint32_t>(t.original_context));
  keys.emplace_back(key("attn_factor"), static_cast<float>(t.attention_factor / yarn_magnitude(t.factor)));
  keys.emplace_back(key("yarn_beta_fast"), static_cast<float>(t.beta_fast));
  keys.emplace_back(key("yarn_beta_slow"), static_cast<float>(t.beta_slow));
}

nlohmann::json read_gguf_rope(const GgufFacts& file, std::string_view architecture) {
  const auto key = [&](const char* name) { return std::string(architecture) + ".rope.scaling." + name; };
  const std::optional<std::string> type = file.text(key("type"));
  if (!type || *type == "none") return nullptr;
  const double factor = file.number(key("factor")).value_or(1.0);
  nlohmann::json rope = {{"rope_type", *type}, {"factor", factor}};
  if (*type != "yarn") return rope;
  if (const auto n = file.integer(key("original_context_length"))) rope["original_max_position_embeddings"] = *n;
  rope["attention_factor"] = file.number(key("attn_factor")).value_or(1.0) * yarn_magnitude(factor);
  rope["beta_fast"] = file.number(key("yarn_beta_fast")).value_or(32.0);
  rope["beta_slow"] = file.number(key("yarn_beta_slow")).value_or(1.0);
  return rope;
}

}  // namespace kerf
