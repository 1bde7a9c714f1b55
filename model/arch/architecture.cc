// Names, shapes and rotation frequencies that follow from an Architecture, and the choice of the family for a config.
#include "model/arch/architecture.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <unordered_set>

#include "core/error.h"
#include "core/log.h"
#include "model/arch/config_reader.h"

namespace kerf {
namespace {

std::string fill_in(std::string_view pattern, int64_t layer, std::string_view suffix) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return std::string(pattern) + std::string(suffix);
  return fmt::format("{}{}{}{}", pattern.substr(0, hole), layer, pattern.substr(hole + 2), suffix);
}

const RoleName& name_of_role(const Architecture& a, std::string_view role) {
  for (const RoleName& n : a.names)
    if (n.role == role) return n;
  fail(ErrorKind::internal, "architecture {} has no tensor with the role {}", a.family, role);
}

Site site_of(const Architecture& a, const Op& op, int64_t layer) {
  return {.role = op.role,
          .layer = layer,
          .name = a.checkpoint_name(op.role, layer),
          .bias = op.bias ? a.checkpoint_name(op.role, layer, ".bias") : "",
          .out = a.axis(op.out),
          .in = a.axis(op.in),
          .fused = op.fused};
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

void check_tensor(const Architecture& a, const TensorSource& source, const ExpectedTensor& expected) {
  const TensorInfo* found = source.find(expected.name);
  const bool embedding = expected.name == a.checkpoint_name(a.embedding_role);
  const bool head = expected.name == a.checkpoint_name(a.head_role);
  if (!found)
    fail(ErrorKind::bad_input, "the checkpoint has no tensor {} (shape {}), which {} needs{}", expected.name,
         shape_text(expected.shape), a.family,
         head ? "; if the head is the embedding matrix, config.json must say \"tie_word_embeddings\": true" : "");
  if (found->shape == expected.shape) return;
  if ((embedding || head) && found->shape.size() == 2 && found->shape[1] == expected.shape[1])
    fail(ErrorKind::bad_input, "tensor {} has {} rows, but config.json says \"vocab_size\": {}", expected.name,
         found->shape[0], a.vocab);
  fail(ErrorKind::bad_input, "tensor {} has shape {}, but config.json implies {}", expected.name,
       shape_text(found->shape), shape_text(expected.shape));
}

}  // namespace

int64_t Architecture::axis(Axis which) const {
  switch (which) {
    case Axis::hidden:
      return hidden;
    case Axis::ffn:
      return ffn;
    case Axis::head:
      return heads * head_dim;
    case Axis::kv:
      return kv_heads * head_dim;
    case Axis::vocab:
      return vocab;
  }
  fail(ErrorKind::internal, "unknown axis");
}

std::vector<Site> Architecture::block_sites(int64_t layer) const {
  std::vector<Site> sites;
  for (const Op& op : block)
    if (op.kind == OpKind::linear) sites.push_back(site_of(*this, op, layer));
  return sites;
}

Site Architecture::embedding() const {
  return {.role = embedding_role,
          .name = checkpoint_name(embedding_role),
          .bias = "",
          .out = vocab,
          .in = hidden,
          .fused = ""};
}

Site Architecture::head() const {
  if (tied) return embedding();
  return {.role = head_role, .name = checkpoint_name(head_role), .bias = "", .out = vocab, .in = hidden, .fused = ""};
}

std::string Architecture::checkpoint_name(std::string_view role, int64_t layer, std::string_view suffix) const {
  return fill_in(name_of_role(*this, role).checkpoint, layer, suffix);
}
std::string Architecture::gguf_tensor_name(std::string_view role, int64_t layer, std::string_view suffix) const {
  return fill_in(name_of_role(*this, role).gguf, layer, suffix);
}

std::vector<ExpectedTensor> Architecture::expected_tensors(int64_t layer) const {
  std::vector<ExpectedTensor> all;
  if (layer < 0) {
    all.push_back({checkpoint_name(embedding_role), {vocab, hidden}});
    all.push_back({checkpoint_name(final_norm_role), {hidden}});
    if (!tied) all.push_back({checkpoint_name(head_role), {vocab, hidden}});
    return all;
  }
  for (const Op& op : block) {
    if (op.kind == OpKind::norm) all.push_back({checkpoint_name(op.role, layer), {axis(op.out)}});
    if (op.kind != OpKind::linear) continue;
    const Site site = site_of(*this, op, layer);
    all.push_back({site.name, {site.out, site.in}});
    if (op.bias) all.push_back({site.bias, {site.out}});
  }
  return all;
}

std::vector<float> Architecture::rope_divisors() const {
  if (!rope.divisors.empty()) return rope.divisors;
  const auto pairs = static_cast<size_t>(head_dim / 2);
  std::vector<float> divisors(pairs, 1.0F);
  if (rope.scaling == RopeScaling::linear) std::fill(divisors.begin(), divisors.end(), static_cast<float>(rope.factor));
  if (rope.scaling != RopeScaling::llama3) return divisors;
  for (size_t i = 0; i < pairs; ++i) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(rope.theta, 2 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double turns = static_cast<double>(rope.original_context) / wavelength;
    // 0 where the frequency is divided by the factor, 1 where it is kept.
    const double kept =
        std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    divisors[i] = static_cast<float>(1 / (kept + (1 - kept) / rope.factor));
  }
  return divisors;
}

std::vector<float> Architecture::rope_frequencies() const {
  // In float32, step by step: an angle is position x frequency, so at position 2,000 a frequency that is off by one
  // part in 2^24 turns a pair by 1e-4, as much as the tolerance of the logits.
  const auto pairs = static_cast<size_t>(head_dim / 2);
  std::vector<float> frequencies(pairs);
  const auto theta = static_cast<float>(rope.theta);
  const auto factor = static_cast<float>(rope.factor);
  for (size_t i = 0; i < pairs; ++i) {
    const float unscaled = 1.0F / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(head_dim));
    frequencies[i] = rope.divisors.empty() ? unscaled : unscaled / rope.divisors[i];
    if (rope.scaling == RopeScaling::linear) frequencies[i] = unscaled / factor;
    if (rope.scaling != RopeScaling::llama3) continue;
    const auto original = static_cast<float>(rope.original_context);
    const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / unscaled;
    if (wavelength > original / low) {
      frequencies[i] = unscaled / factor;
    } else if (wavelength >= original / high) {
      const float smooth = (original / wavelength - low) / (high - low);
      frequencies[i] = (1 - smooth) * (unscaled / factor) + smooth * unscaled;
    }
  }
  return frequencies;
}

Architecture describe_architecture(const nlohmann::json& config) {
  const ConfigReader c(config, "config.json");
  const std::string model_type = c.text_or("model_type", "");
  std::vector<std::string> classes;
  if (c.has("architectures")) {
    const nlohmann::json& list = c.at("architectures");
    if (!list.is_array()) fail(ErrorKind::bad_input, "config.json: \"architectures\" must be a list of names");
    for (const nlohmann::json& name : list) {
      if (!name.is_string()) fail(ErrorKind::bad_input, "config.json: \"architectures\" must be a list of names");
      classes.push_back(name.get<std::string>());
    }
  }
  if (model_type.empty() && classes.empty())
    fail(ErrorKind::bad_input, "config.json lacks the key \"model_type\" (and \"architectures\")");

  std::string known;
  for (const ArchitectureFamily* family : all_architectures()) {
    const auto in = [](std::span<const std::string_view> list, std::string_view name) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    const bool right_class = std::any_of(classes.begin(), classes.end(),
                                         [&](const std::string& name) { return in(family->architectures, name); });
    const bool right_type = in(family->model_types, model_type);
    if ((model_type.empty() || right_type) && (classes.empty() || right_class)) return family->describe(config);
    for (std::string_view name : family->architectures) known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fail(ErrorKind::unsupported, "config.json describes {}{}{}, which kerf does not know; known are {}",
       classes.empty() ? "" : classes.front(), classes.empty() ? "model_type " : " of model_type ",
       model_type.empty() ? "(none)" : model_type, known);
}

void check_tensors(const Architecture& a, const TensorSource& source) {
  std::unordered_set<std::string> used;
  const auto check = [&](int64_t layer) {
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      check_tensor(a, source, expected);
      used.insert(expected.name);
    }
  };
  check(-1);
  for (int64_t layer = 0; layer < a.layers; ++layer) check(layer);

  // Older checkpoints store the rotation frequencies, and tied ones sometimes their head a second time.
  std::string examples;
  int64_t unused = 0;
  for (const TensorInfo& t : source.tensors()) {
    if (used.count(t.name) || t.name.ends_with("rotary_emb.inv_freq")) continue;
    if (a.tied && t.name == a.checkpoint_name(a.head_role)) continue;
    if (++unused <= 3) examples += (unused > 1 ? ", " : "") + t.name;
  }
  if (unused)
    warn(
        fmt::format("{} tensor(s) of the checkpoint are not part of {} as config.json describes it and are left out: "
                    "{}{}",
                    unused, a.family, examples, unused > 3 ? ", ..." : ""));
}

}  // namespace kerf
