#include "model/arch/gguf_decoder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace {

// llama.cpp multiplies sines and cosines of YaRN by this, and by the key rope.scaling.attn_factor
// (src/llama-context.cpp, ggml-cpu/ops.cpp).
double yarn_magnitude(double factor) { return factor > 1 ? 1 + 0.1 * std::log(factor) : 1; }

// YaRN's beta_fast and beta_slow in llama.cpp: its files may say them, and for these families it does not read them.
constexpr double kBetaFast = 32, kBetaSlow = 1;

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

std::string gguf_rope_refuses(const RopeTable& t) {
  if (t.scaling != RopeScaling::yarn) return "";
  if (!t.truncate)
    return "its YaRN scaling says \"truncate\": false, and llama.cpp always rounds the ends of the blend";
  if (t.beta_fast != kBetaFast || t.beta_slow != kBetaSlow)
    return fmt::format(
        "its YaRN scaling says \"beta_fast\": {} and \"beta_slow\": {}, and llama.cpp takes {} and {} for this family, "
        "whatever a file says",
        t.beta_fast, t.beta_slow, kBetaFast, kBetaSlow);
  return "";
}

// src/llama-model.cpp, load_hparams(), and src/llama-context.cpp.
nlohmann::json read_gguf_rope(const GgufFacts& file, std::string_view architecture) {
  const auto key = [&](const char* name) { return std::string(architecture) + ".rope." + name; };
  const std::string type = file.text(key("scaling.type")).value_or("linear");
  std::optional<double> given = file.number(key("scaling.factor"));
  if (!given) given = file.number(key("scale_linear"));
  const double factor = given.value_or(0) == 0 || type == "none" ? 1.0 : *given;
  const double magnitude = file.number(key("scaling.attn_factor")).value_or(1.0);
  if (type == "longrope")
    fail(ErrorKind::unsupported, "{}: {} is \"longrope\", which kerf does not compute; it knows none, linear and yarn",
         file.file, key("scaling.type"));
  if (type != "none" && type != "linear" && type != "yarn")
    fail(ErrorKind::bad_input,
         "{}: {} is \"{}\", which llama.cpp does not know; it knows none, linear, yarn and longrope", file.file,
         key("scaling.type"), type);
  if (type != "yarn") {
    if (magnitude != 1)
      fail(ErrorKind::unsupported, "{}: {} is {} without YaRN; kerf computes rotations of this kind with 1 only",
           file.file, key("scaling.attn_factor"), magnitude);
    if (factor == 1) return nullptr;
    return {{"rope_type", "linear"}, {"factor", factor}};
  }
  for (const auto& [name, value] :
       {std::pair("scaling.yarn_beta_fast", kBetaFast), std::pair("scaling.yarn_beta_slow", kBetaSlow)})
    if (const double said = file.number(key(name)).value_or(value); said != value)
      warn(fmt::format("{}: {} is {}, and has no effect, as in llama.cpp, which takes {}", file.file, key(name), said,
                       value));
  nlohmann::json rope = {{"rope_type", "yarn"}, {"factor", factor}};
  if (const auto n = file.integer(key("scaling.original_context_length")); n && *n != 0)
    rope["original_max_position_embeddings"] = *n;
  rope["attention_factor"] = magnitude * yarn_magnitude(factor);
  return rope;
}

}  // namespace kerf
