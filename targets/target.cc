#include "targets/target.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/nearest.h"
#include "core/words.h"

namespace kerf {
namespace {

// What people call the runtimes and formats of a target.
struct Alias {
  std::string_view name, target;
};
constexpr Alias kAliases[] = {{"gguf", "llama.cpp-cpu"},
                              {"ggml", "llama.cpp-cpu"},
                              {"ollama", "llama.cpp-cpu"},
                              {"llama.cpp", "llama.cpp-cpu"},
                              {"llamacpp", "llama.cpp-cpu"},
                              {"llama-cpp", "llama.cpp-cpu"},
                              {"llama-cpp-cpu", "llama.cpp-cpu"},
                              {"lmstudio", "llama.cpp-cpu"},
                              {"lm-studio", "llama.cpp-cpu"},
                              {"koboldcpp", "llama.cpp-cpu"},
                              {"llamafile", "llama.cpp-cpu"},
                              {"gpt4all", "llama.cpp-cpu"},
                              {"jan", "llama.cpp-cpu"},
                              {"cpu", "llama.cpp-cpu"},
                              {"gptq", "transformers-gptq"},
                              {"gptqmodel", "transformers-gptq"},
                              {"auto-gptq", "transformers-gptq"},
                              {"autogptq", "transformers-gptq"},
                              {"exllama", "transformers-gptq"},
                              {"exllamav2", "transformers-gptq"},
                              {"autoawq", "awq"},
                              {"auto-awq", "awq"},
                              {"awq-gemm", "awq"},
                              {"llm-awq", "awq"},
                              {"compressed-tensors", "vllm"},
                              {"llm-compressor", "vllm"},
                              {"llmcompressor", "vllm"},
                              {"sglang", "vllm"},
                              {"tgi", "vllm"},
                              {"transformers", "vllm"},
                              {"huggingface", "vllm"},
                              {"hf", "vllm"},
                              {"safetensors", "vllm"}};
// Formats that kerf does not write, with a target whose files the same machines load.
constexpr Alias kOthers[] = {{"mlx", "llama.cpp-cpu"},
                             {"mlx-lm", "llama.cpp-cpu"},
                             {"coreml", "llama.cpp-cpu"},
                             {"onnx", "llama.cpp-cpu"},
                             {"openvino", "llama.cpp-cpu"},
                             {"ctranslate2", "llama.cpp-cpu"},
                             {"mnn", "llama.cpp-cpu"},
                             {"ncnn", "llama.cpp-cpu"},
                             {"executorch", "llama.cpp-cpu"},
                             {"tensorrt", "vllm"},
                             {"tensorrt-llm", "vllm"},
                             {"trtllm", "vllm"},
                             {"bitsandbytes", "vllm"},
                             {"bnb", "vllm"},
                             {"nf4", "vllm"},
                             {"exl2", "transformers-gptq"},
                             {"exl3", "transformers-gptq"},
                             {"hqq", "transformers-gptq"},
                             {"aqlm", "transformers-gptq"},
                             {"quip", "transformers-gptq"}};

const Target* target_called(std::string_view name) {
  for (const Target* t : all_targets())
    if (t->name() == name) return t;
  return nullptr;
}

// The scheme's canonical name; "" where the target has none of that name.
std::string known_scheme(const Target& t, std::string_view scheme) {
  if (scheme.empty()) return "";
  try {
    return t.canonical(scheme);
  } catch (const Error&) {
    return "";
  }
}

// "NAME:SCHEME" where the target has that scheme, else its name.
std::string with_scheme(std::string_view target, std::string_view scheme) {
  const std::string known = known_scheme(*target_called(target), scheme);
  return known.empty() ? std::string(target) : fmt::format("{}:{}", target, known);
}

const Alias* find_alias(std::span<const Alias> aliases, std::string_view name) {
  const auto at = std::find_if(aliases.begin(), aliases.end(), [&](const Alias& a) { return a.name == name; });
  return at == aliases.end() ? nullptr : &*at;
}

// Targets that have a scheme of this name, "vllm:w4a16" and the like.
std::string having_scheme(std::string_view scheme) {
  std::string all;
  for (const Target* t : all_targets())
    if (const std::string known = known_scheme(*t, scheme); !known.empty())
      all += fmt::format("{}{}:{}", all.empty() ? "" : " or ", t->name(), known);
  return all;
}

// "vllm-w4a16" or "Q4_0:llama.cpp-cpu": both parts, joined in another way.
std::string joined_otherwise(std::string_view text) {
  for (const Target* t : all_targets()) {
    const std::string_view name = t->name();
    if (text.size() <= name.size() + 1) continue;
    std::string_view scheme;
    if (lower_case(text).starts_with(name) && std::string_view("-_/=@ ").find(text[name.size()]) != text.npos)
      scheme = text.substr(name.size() + 1);
    else if (lower_case(text).ends_with(name) && text[text.size() - name.size() - 1] == ':')
      scheme = text.substr(0, text.size() - name.size() - 1);
    if (const std::string known = known_scheme(*t, scheme); !known.empty()) return fmt::format("{}:{}", name, known);
  }
  return "";
}

// What the text was probably meant to say: the end of a sentence.
std::string suggestion(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string name = lower_case(text.substr(0, colon));
  const std::string_view scheme = colon == text.npos ? "" : text.substr(colon + 1);
  const auto meant = [](std::string_view target) { return fmt::format("; did you mean {}?", target); };
  if (target_called(name)) return meant(with_scheme(name, scheme));
  if (const Alias* a = find_alias(kAliases, name)) return meant(with_scheme(a->target, scheme));
  if (const Alias* a = find_alias(kOthers, name))
    return fmt::format("; kerf writes no files of that kind, the nearest is {} ({}).", a->target,
                       target_called(a->target)->runtime());
  if (const std::string both = joined_otherwise(text); !both.empty()) return meant(both);
  if (const std::string targets = having_scheme(text); !targets.empty())
    return fmt::format(": that is a scheme; did you mean {}?", targets);
  std::vector<std::string_view> known;
  for (const Target* t : all_targets()) known.push_back(t->name());
  for (const Alias& a : kAliases) known.push_back(a.name);
  const std::string_view near = nearest(name, known);
  if (near.empty()) return ".";
  const Alias* a = find_alias(kAliases, near);
  return meant(with_scheme(a ? a->target : near, scheme));
}

[[noreturn]] void refuse_unknown(std::string_view text) {
  std::string known;
  for (const Target* t : all_targets()) known += fmt::format("{}{}", known.empty() ? "" : ", ", t->name());
  fail(ErrorKind::usage, "there is no target '{}'{} The targets are {} (see `kerf targets`)", text, suggestion(text),
       known);
}

}  // namespace

std::string_view name_of(Provenance p) {
  switch (p) {
    case Provenance::measured:
      return "measured against the runtime";
    case Provenance::with_transformers:
      return "measured against transformers, other runtimes' from source";
    case Provenance::from_source:
      return "from source";
  }
  fail(ErrorKind::internal, "a provenance without a name");
}

std::string StoredSite::module() const {
  constexpr std::string_view suffix = ".weight";
  return shape.name.ends_with(suffix) ? shape.name.substr(0, shape.name.size() - suffix.size()) : shape.name;
}

std::string to_text(const RuntimeSettings& s) {
  std::string text;
  if (s.flash_attention) text = fmt::format("flash attention {}", *s.flash_attention ? "on" : "off");
  if (!s.kv_cache.empty()) text += fmt::format("{}key/value cache {}", text.empty() ? "" : ", ", s.kv_cache);
  return text;
}

Arithmetic Target::arithmetic_with(const RuntimeSettings& s, const Architecture& a) const {
  if (s.any())
    fail(ErrorKind::usage,
         "{} is no setting of {}: flash attention and the type of the key/value cache are settings of llama.cpp-cpu; "
         "leave them out, or measure that target alone",
         s.kv_cache.empty() ? "--flash-attention" : "--kv-cache", name());
  return arithmetic(a.dtype);
}

void Target::configure(nlohmann::ordered_json&, std::string_view, std::span<const StoredSite>) const {
  fail(ErrorKind::internal, "the target {} has no config.json", name());
}

std::vector<CompanionFile> Target::companions(const nlohmann::ordered_json&) const { return {}; }

const Target& find_target(std::string_view name) {
  if (const Target* t = target_called(name)) return *t;
  refuse_unknown(name);
}

std::string TargetChoice::text() const { return fmt::format("{}:{}", target->name(), scheme); }

TargetChoice parse_target(std::string_view text) {
  const size_t colon = text.find(':');
  if (!target_called(text.substr(0, colon))) refuse_unknown(text);
  const Target& target = find_target(text.substr(0, colon));
  return {&target, target.canonical(colon == std::string_view::npos ? "" : text.substr(colon + 1))};
}

}  // namespace kerf
