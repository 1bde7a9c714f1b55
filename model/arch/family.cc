// The choice of the family for a config or a GGUF file, and the table of keys read in both directions.
#include "model/arch/family.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "core/error.h"
#include "model/arch/config_reader.h"

namespace kerf {
namespace {
using nlohmann::json;

const ArchitectureFamily& family_of(const Architecture& a) {
  for (const ArchitectureFamily* f : all_families())
    if (f->name == a.family) return *f;
  fail(ErrorKind::internal, "there is no family {}", a.family);
}

json::json_pointer pointer(std::string_view path) { return json::json_pointer(std::string(path)); }

std::string known_architectures() {
  std::string known;
  for (const ArchitectureFamily* family : all_families())
    for (std::string_view name : family->architectures) known += (known.empty() ? "" : ", ") + std::string(name);
  return known;
}

// What the keys of a config are called that was made from a file.
KeySpellings spellings_of(const ArchitectureFamily& family) {
  const std::string prefix = std::string(family.gguf) + ".", scaling = prefix + "rope.scaling.";
  KeySpellings names = {{"/vocab_size", "the number of rows of token_embd.weight"},
                        {"/bos_token_id", "tokenizer.ggml.bos_token_id"},
                        {"/eos_token_id", "tokenizer.ggml.eos_token_id"},
                        {"/rope_scaling/rope_type", scaling + "type"},
                        {"/rope_scaling/factor", scaling + "factor"},
                        {"/rope_scaling/original_max_position_embeddings", scaling + "original_context_length"},
                        {"/rope_scaling/attention_factor", scaling + "attn_factor"}};
  for (const GgufKey& k : family.gguf_keys)
    if (k.need != GgufKey::Need::must_equal) names.emplace(k.config, prefix + std::string(k.gguf));
  return names;
}

// Files that hold no model to compute, by what they say they are.
void refuse_other_kinds(const GgufFacts& file) {
  const std::string type = file.text("general.type").value_or("model");
  if (type == "imatrix")
    fail(ErrorKind::bad_input, "{} is an importance matrix, not a model; give it with --imatrix", file.file);
  if (type == "adapter")
    fail(ErrorKind::unsupported,
         "{} is an adapter (LoRA), not a model; merge it into its model (llama-export-lora) and give the result",
         file.file);
  if (type == "mmproj" || file.text("general.architecture") == "clip")
    fail(ErrorKind::unsupported, "{} is the image or audio part of a model (mmproj); give the file of the text model",
         file.file);
}

void read_key(const GgufFacts& file, const std::string& prefix, const GgufKey& k, json& config) {
  const std::string key = prefix + std::string(k.gguf);
  std::optional<double> number;
  if (k.type == GgufKey::Type::size) {
    if (const auto n = file.integer(key)) number = static_cast<double>(*n);
  } else {
    number = file.number(key);
  }
  if (!number) {
    if (k.need == GgufKey::Need::required) fail(ErrorKind::bad_input, "{} has no key {}", file.file, key);
    return;
  }
  const auto at = pointer(k.config);
  if (k.need == GgufKey::Need::must_equal) {
    // Against what the rest of the file says; a config that leaves it open is checked by the tensors' shapes.
    if (config.contains(at) && config.at(at).get<double>() != *number)
      fail(ErrorKind::unsupported, "{}: {} is {}, and kerf computes with {} there", file.file, key, *number,
           config.at(at).dump());
    return;
  }
  if (k.type == GgufKey::Type::size)
    config[at] = static_cast<int64_t>(*number);
  else
    config[at] = *number;
}

}  // namespace

bool activations_exceed_f16(const Architecture& a) { return family_of(a).activations_exceed_f16; }

Architecture describe_architecture(const json& config) {
  const ConfigReader c(config, "config.json");
  const std::string model_type = c.text_or("model_type", "");
  std::vector<std::string> classes;
  if (c.has("architectures")) {
    const json& list = c.at("architectures");
    if (!list.is_array()) fail(ErrorKind::bad_input, "config.json: \"architectures\" must be a list of names");
    for (const json& name : list) {
      if (!name.is_string()) fail(ErrorKind::bad_input, "config.json: \"architectures\" must be a list of names");
      classes.push_back(name.get<std::string>());
    }
  }
  if (model_type.empty() && classes.empty())
    fail(ErrorKind::bad_input, "config.json lacks the key \"model_type\" (and \"architectures\")");

  for (const ArchitectureFamily* family : all_families()) {
    const auto in = [](std::span<const std::string_view> list, std::string_view name) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    const bool right_class = std::any_of(classes.begin(), classes.end(),
                                         [&](const std::string& name) { return in(family->architectures, name); });
    const bool right_type = in(family->model_types, model_type);
    if ((model_type.empty() || right_type) && (classes.empty() || right_class)) return family->describe(c);
  }
  fail(ErrorKind::unsupported, "config.json describes {}{}{}, which kerf does not know; known are {}",
       classes.empty() ? "" : classes.front(), classes.empty() ? "model_type " : " of model_type ",
       model_type.empty() ? "(none)" : model_type, known_architectures());
}

Architecture describe_gguf(const GgufFacts& file) {
  refuse_other_kinds(file);
  const std::optional<std::string> name = file.text("general.architecture");
  if (!name) fail(ErrorKind::bad_input, "{} has no key general.architecture", file.file);
  const auto all = all_families();
  const auto at = std::find_if(all.begin(), all.end(), [&](const ArchitectureFamily* f) { return f->gguf == *name; });
  if (at == all.end()) {
    std::string known;
    for (const ArchitectureFamily* f : all)
      if (!f->gguf.empty()) known += (known.empty() ? "" : ", ") + std::string(f->gguf);
    fail(ErrorKind::unsupported, "{} holds a model of the architecture {}, which kerf does not know; known are {}",
         file.file, *name, known);
  }
  const ArchitectureFamily& family = **at;
  const std::vector<int64_t>* embedding = file.shape("token_embd.weight");
  if (!embedding || embedding->size() != 2)
    fail(ErrorKind::bad_input, "{} has no matrix token_embd.weight{}", file.file,
         file.has_tensors ? "" : ": it holds a vocabulary and no weights");
  // llama.cpp reads both, and kerf computes neither.
  if (file.flag(*name + ".attention.causal") == false)
    fail(ErrorKind::unsupported, "{}: {}.attention.causal is false; kerf computes causal models only", file.file,
         *name);
  if (file.integer(*name + ".expert_count").value_or(0) > 0)
    fail(ErrorKind::unsupported, "{}: {}.expert_count is {}; kerf computes models without experts only", file.file,
         *name, *file.integer(*name + ".expert_count"));

  json config = json::object();
  for (const GgufKey& k : family.gguf_keys)
    if (k.need != GgufKey::Need::must_equal) read_key(file, *name + ".", k, config);
  config["model_type"] = std::string(family.model_types.front());
  config["vocab_size"] = (*embedding)[0];
  config["tie_word_embeddings"] = file.shape("output.weight") == nullptr;
  for (const auto& [key, config_key] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token_id"),
                                        std::pair("tokenizer.ggml.eos_token_id", "eos_token_id")})
    if (const auto id = file.integer(key)) config[config_key] = *id;
  const auto heads = config.at("num_attention_heads").get<int64_t>();
  if (!config.contains("num_key_value_heads")) config["num_key_value_heads"] = heads;
  if (!config.contains("head_dim")) {
    const auto hidden = config.at("hidden_size").get<int64_t>();
    if (heads <= 0 || hidden % heads != 0)
      fail(ErrorKind::bad_input, "{}: {}.embedding_length ({}) is not a multiple of {}.attention.head_count ({})",
           file.file, *name, hidden, *name, heads);
    config["head_dim"] = hidden / heads;
  }
  if (family.read_gguf) family.read_gguf(file, config);
  for (const GgufKey& k : family.gguf_keys)
    if (k.need == GgufKey::Need::must_equal) read_key(file, *name + ".", k, config);
  return family.describe(ConfigReader(config, file.file, spellings_of(family)));
}

GgufKeys gguf_keys(const Architecture& a) {
  const ArchitectureFamily& family = family_of(a);
  if (family.gguf.empty())
    fail(ErrorKind::unsupported,
         "llama.cpp has no architecture for {}, so no GGUF file can hold it; choose a target that loads safetensors",
         a.family);
  if (family.gguf_refuses)
    if (const std::string reason = family.gguf_refuses(a); !reason.empty())
      fail(ErrorKind::unsupported, "a GGUF file cannot hold this {}: {}", a.family, reason);
  const json config = family.write_config(a);
  GgufKeys keys;
  for (const GgufKey& k : family.gguf_keys) {
    const auto at = pointer(k.config);
    if (!config.contains(at)) continue;
    const std::string key = std::string(family.gguf) + "." + std::string(k.gguf);
    if (k.type == GgufKey::Type::size)
      keys.emplace_back(key, checked_cast<uint32_t>(config.at(at).get<int64_t>(), key));
    else
      keys.emplace_back(key, static_cast<float>(config.at(at).get<double>()));
  }
  if (family.write_gguf) family.write_gguf(a, keys);
  keys.emplace_back(std::string(family.gguf) + ".vocab_size", checked_cast<uint32_t>(a.vocab(), "vocab_size"));
  return keys;
}

std::vector<float> gguf_rope_factors(const Architecture& a) {
  // One tensor serves all layers; families that cannot say so refuse what would need two (gguf_refuses).
  for (const Ops& ops : a.kinds)
    for (const Op& op : ops)
      if (const Rope* r = op.as<Rope>()) {
        const bool factors = r->table.scaling == RopeScaling::llama3 || !r->table.divisors.empty();
        const std::vector<float> divisors = factors ? r->divisors() : std::vector<float>();
        if (std::any_of(divisors.begin(), divisors.end(), [](float d) { return d != 1.0F; })) return divisors;
      }
  return {};
}

std::string hub_refuses(const Architecture& a) {
  const ArchitectureFamily& family = family_of(a);
  return family.hub_refuses ? family.hub_refuses(a) : "";
}
std::string_view causal_class(const Architecture& a) { return family_of(a).architectures.front(); }
nlohmann::ordered_json write_config(const Architecture& a) { return family_of(a).write_config(a); }

}  // namespace kerf
