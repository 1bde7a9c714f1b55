// Sources: transformers (PreTrainedModel.tie_weights, base_model_prefix), PEFT (names of adapter tensors), AutoGPTQ and
// AutoAWQ (the config files they write).
#include "verify/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/checked.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/stand_in.h"
#include "formats/gguf.h"
#include "model/arch/family.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

void remark(Artifact& a, std::string sentence) {
  warn(sentence);
  a.remarks.push_back(std::move(sentence));
}

// "a, b, c and 4 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  const std::span<const std::string> shown(names.data(), std::min(names.size(), kShown));
  std::string text = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::string_view without_last(std::string_view name) { return name.substr(0, name.rfind('.') + 1); }

// Of the first layer's norm, which no format quantizes: what stands before the common part of all names ("model."), and
// the rest.
struct Anchor {
  std::string base, rest;
};
std::optional<Anchor> anchor_of(const Architecture& a) {
  const std::string embedding = a.embedding().name;
  for (const ExpectedTensor& t : a.expected_tensors(0)) {
    if (t.shape.size() != 1) continue;
    const std::string base = embedding.substr(0, embedding.find('.') + 1);
    if (base.empty() || !t.stored.tensor.starts_with(base)) return std::nullopt;
    return Anchor{base, t.stored.tensor.substr(base.size())};
  }
  return std::nullopt;
}

// How names in a file become the architecture's.
class Renaming {
 public:
  Renaming(const Architecture& a, const Anchor& anchor, std::string prefix) : base_(anchor.base), all_(prefix) {
    head_ = without_last(a.head_matrix());
    if (all_ == base_ || all_.ends_with("." + base_)) wrapper_ = all_.substr(0, all_.size() - base_.size());
  }
  std::string operator()(const std::string& name) const {
    for (const std::string* prefix : {&wrapper_, &all_})
      if (name.starts_with(*prefix) && std::string_view(name).substr(prefix->size()).starts_with(head_))
        return name.substr(prefix->size());
    if (name.starts_with(all_)) return base_ + name.substr(all_.size());
    return name.starts_with(wrapper_) ? name.substr(wrapper_.size()) : name;
  }
  // Whether the prefix is one of all names, the head's apart, which stands outside of the base model.
  bool covers(const std::string& name) const {
    const std::string& prefix = wrapper_.empty() ? all_ : wrapper_;
    return name.starts_with(prefix) || name.starts_with(head_);
  }
  std::string sentence() const {
    if (!wrapper_.empty())
      return fmt::format("the names of the checkpoint's tensors begin with '{}', which is left out of them", wrapper_);
    if (all_.empty())
      return fmt::format("the checkpoint's tensors are named as in the base model, without '{}', which is added",
                         base_);
    return fmt::format("the names of the checkpoint's tensors begin with '{}', which is read as '{}'", all_, base_);
  }

 private:
  std::string base_, all_, wrapper_;  // "model.", "module.model.", "module."
  std::string head_;                  // "lm_head."
};

// The words of quantization_config for what AutoAWQ calls otherwise.
json awq_words(json config) {
  for (const auto& [own, usual] : {std::pair("w_bit", "bits"), std::pair("q_group_size", "group_size")})
    if (config.contains(own) && !config.contains(usual)) config[usual] = config[own];
  return config;
}

// " for ORG/NAME", or "".
std::string base_of_adapter(const fs::path& folder) {
  if (!fs::exists(folder / "adapter_config.json")) return "";
  const json config = read_json_object(folder / "adapter_config.json");
  const auto at = config.find("base_model_name_or_path");
  return at != config.end() && at->is_string() ? fmt::format(" for {}", at->get<std::string>()) : "";
}

// What a page in place of a file that loaders read is not; "" for what they do not read, and which may well be one.
std::string_view kind_of_companion(const fs::path& file) {
  if (file.extension() == ".json") return "no JSON";
  if (file.extension() == ".model") return "no tokenizer";
  if (file.filename() == "chat_template.jinja") return "no chat template";
  return file.filename() == "vocab.txt" || file.filename() == "merges.txt" ? "no list of tokens" : "";
}

bool is_plain_number(Dtype d) { return d == Dtype::f64 || d == Dtype::f32 || d == Dtype::f16 || d == Dtype::bf16; }

}  // namespace

QuantizationSource read_quantization(const fs::path& folder, const json& config, const Reader& reader) {
  const auto in_config = config.find("quantization_config");
  if (in_config != config.end() && !in_config->is_null()) {
    const std::string file = (folder / "config.json").string();
    if (!in_config->is_object())
      fail(ErrorKind::bad_input, "{}: quantization_config is {}, not an object", file, short_json(*in_config));
    return {.file = file, .config = *in_config};
  }
  const bool packed = std::any_of(reader.tensors().begin(), reader.tensors().end(),
                                  [](const StoredTensor& t) { return t.name.ends_with(".qweight"); });
  if (!packed) return {};
  for (const auto& [name, method] :
       {std::pair("quantize_config.json", "gptq"), std::pair("quant_config.json", "awq")}) {
    const fs::path file = folder / name;
    if (!fs::exists(file)) continue;
    json found = awq_words(read_json_object(file));
    if (!found.contains("quant_method") && !found.contains("method")) found["quant_method"] = method;
    note(fmt::format("{} says how the weights are quantized; config.json does not", file.string()));
    return {.file = file.string(), .config = std::move(found)};
  }
  return {};
}

void refuse_adapter_tensors(const Reader& reader) {
  std::vector<std::string> found;
  for (const StoredTensor& t : reader.tensors())
    for (const std::string_view part : {".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B",
                                        ".lora_magnitude_vector", ".lora_", ".base_layer.", ".modules_to_save."})
      if (t.name.find(part) != t.name.npos) {
        found.push_back(t.name);
        break;
      }
  if (!found.empty())
    fail(
        ErrorKind::unsupported,
        "{} holds {} tensor(s) of a LoRA adapter that is not merged into the weights: {}; merge it (merge_and_unload() "
        "of PEFT), save the model, and give that",
        reader.path().string(), found.size(), some_of(found));
}

void refuse_stand_ins(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder.empty() ? "." : folder, error), end; !error && it != end; it.increment(error)) {
    const fs::path extension = it->path().extension();
    if (extension != ".json" && extension != ".model" && extension != ".jinja" && extension != ".txt") continue;
    std::error_code unreadable;
    if (!it->is_regular_file(unreadable)) continue;
    const std::string head = head_of(it->path());
    if (const std::string what = it->file_size(unreadable) == head.size() ? pointer_in_place_of(head) : "";
        !what.empty())
      fail(ErrorKind::bad_input, "{} {}", it->path().string(), what);
    if (const std::string_view kind = kind_of_companion(it->path()); !kind.empty() && is_html_page(head))
      refuse_stand_in(it->path().string(), kind, head);
  }
}

void refuse_lone_adapter(const fs::path& folder) {
  if (!fs::exists(folder / "adapter_config.json")) return;
  fail(ErrorKind::unsupported,
       "{} holds a LoRA adapter{} and no model; merge it into that (merge_and_unload() of PEFT), save the model, and "
       "give "
       "the result",
       folder.string(), base_of_adapter(folder));
}

void remark_on_adapter(const fs::path& folder, Artifact& a) {
  const char* const kFiles[] = {"adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"};
  for (const char* name : kFiles) {
    if (!fs::exists(folder / name)) continue;
    remark(a,
           fmt::format("an adapter{} lies beside the model ({}) and is left out: the weights are taken as they are; to "
                       "compress the adapted model, merge it (merge_and_unload() of PEFT) and give the result",
                       base_of_adapter(folder), name));
    return;
  }
  for (const fs::path& file : gguf_adapters_in(folder.empty() ? "." : folder)) {
    remark(a,
           fmt::format("an adapter lies beside the model ({}) and is left out: the weights are taken as they are; to "
                       "compress the adapted model, merge it ({}) and give the result",
                       file.filename().string(), kMergesAdapters));
    return;
  }
}

void strip_prefixes(Artifact& a, std::vector<StoredWeight>& weights) {
  const auto anchor = anchor_of(a.architecture);
  if (!anchor) return;
  std::vector<std::string> prefixes;
  for (const StoredWeight& w : weights) {
    const std::string& name = w.info.name;
    if (name == anchor->base + anchor->rest) return;
    if (name == anchor->rest || name.ends_with("." + anchor->rest))
      prefixes.push_back(name.substr(0, name.size() - anchor->rest.size()));
  }
  if (prefixes.size() != 1) return;  // nothing like it, or several models: the check of the tensors names what there is
  const Renaming rename(a.architecture, *anchor, prefixes[0]);
  for (const StoredWeight& w : weights)
    if (!rename.covers(w.info.name)) return;
  for (StoredWeight& w : weights) w.info.name = rename(w.info.name);
  note(fmt::format("{}: {}", a.path.string(), rename.sentence()));
}

void refuse_codes(const Artifact& a, const Reader& reader, std::span<const StoredWeight> weights) {
  std::unordered_set<std::string> used;
  for (int64_t layer = -1; layer < a.architecture.layers(); ++layer)
    for (const ExpectedTensor& t : a.architecture.expected_tensors(layer)) used.insert(t.stored.tensor);
  used.insert(a.architecture.head_matrix());
  std::vector<std::string> codes, scales;
  std::unordered_set<std::string> modules;
  for (const StoredWeight& w : weights) {
    if (w.gemm || w.decode || is_plain_number(w.info.dtype) || !used.contains(w.info.name)) continue;
    codes.push_back(fmt::format("{} ({})", w.file_name, w.type));
    modules.insert(std::string(without_last(w.file_name)));
  }
  if (codes.empty()) return;
  for (const StoredTensor& t : reader.tensors()) {
    const std::string_view part = std::string_view(t.name).substr(without_last(t.name).size());
    if (part != "weight" && part != "bias" && modules.contains(std::string(without_last(t.name))))
      scales.push_back(t.name);
  }
  const std::string beside =
      scales.empty() ? "" : fmt::format(", with what seem to be their scales: {}", some_of(scales));
  fail(ErrorKind::unsupported,
       "{}: {} weight(s) are stored in a type of codes, which are no weights by themselves: {}{}; {}; give the "
       "checkpoint in F32, F16 or BF16 that it was made from",
       reader.path().string(), codes.size(), some_of(codes), beside,
       a.target.empty() ? "config.json has no quantization_config that says what they mean"
                        : "quantization_config does not say what they mean");
}

void find_tied_embedding(Artifact& a, std::vector<StoredWeight>& weights) {
  if (!a.architecture.tied) return;
  const auto named = [&](const std::string& name) {
    return std::find_if(weights.begin(), weights.end(), [&](const StoredWeight& w) { return w.info.name == name; });
  };
  const std::string embedding = a.architecture.embedding().name;
  const auto head = named(a.architecture.head_matrix());
  if (head == weights.end() || named(embedding) != weights.end()) return;
  note(fmt::format("{}: {} is not stored; as config.json ties it to the head, {} is both", a.path.string(), embedding,
                   head->file_name));
  head->info.name = embedding;
}

void untie_different_head(Artifact& a) {
  Architecture& arch = a.architecture;
  if (!arch.tied) return;
  const std::string head_name = arch.head_matrix();
  const TensorInfo *embedding = a.weights->find(arch.embedding().name), *head = a.weights->find(head_name);
  if (!embedding || !head) return;
  if (embedding->shape == head->shape) {
    constexpr int64_t kAtOnce = 1 << 18;
    const int64_t rows = std::max<int64_t>(1, kAtOnce / std::max<int64_t>(1, head->cols()));
    std::atomic<bool> differ = false;
    parallel_for(ceil_div(head->rows(), rows), [&](int64_t i) {
      if (differ) return;
      const int64_t begin = i * rows, n = std::min(rows, head->rows() - begin) * head->cols();
      std::vector<float> x(static_cast<size_t>(n)), y(x.size());
      a.weights->read(*embedding, begin, x);
      a.weights->read(*head, begin, y);
      round_to(arch.dtype, x);
      round_to(arch.dtype, y);
      if (!std::equal(x.begin(), x.end(), y.begin())) differ = true;
    });
    if (!differ) return;
  }
  arch.tied = false;
  a.config_changes["tie_word_embeddings"] = "false";
  remark(a, fmt::format(
                "config.json says that the head is the embedding (\"tie_word_embeddings\": true), but the checkpoint "
                "holds {} with other numbers than {}: both are kept, as transformers does, and configs written "
                "from it say \"tie_word_embeddings\": false",
                head_name, embedding->name));
}

}  // namespace kerf
