// A family of architectures (Llama, Qwen 2, ...) is a plug-in: one file family_<name>.cc that defines
// `const ArchitectureFamily& family_<name>()` and says everything that is particular about it: what its config means,
// what a config for given operations is, and what a GGUF file of it holds.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/arch/architecture.h"
#include "model/arch/config_reader.h"

namespace kerf {

/// What a GGUF file says, for those who describe models and know no files.
struct GgufFacts {
  std::string file;  // for sentences
  /// Of an array of equal numbers, one for each layer, too.
  std::function<std::optional<int64_t>(const std::string& key)> integer;
  std::function<std::optional<double>(const std::string& key)> number;
  std::function<std::optional<std::string>(const std::string& key)> text;
  std::function<std::optional<bool>(const std::string& key)> flag;
  /// Of an array, of bools too; nullopt for a single number.
  std::function<std::optional<std::vector<int64_t>>(const std::string& key)> integers;
  std::function<const std::vector<int64_t>*(const std::string& tensor)> shape;  // nullptr: no such tensor
  bool has_tensors = true;                                                      // any at all
};

/// A value of GGUF metadata: u32, f32, string, bool, or an array of bool.
using GgufValue = std::variant<uint32_t, float, std::string, bool, std::vector<bool>>;
using GgufKeys = std::vector<std::pair<std::string, GgufValue>>;

/// A key <architecture>.<gguf> that says what the config's number at `config` (a JSON pointer) says. The table is read
/// in both directions; keys are written in its order.
struct GgufKey {
  enum class Type { size, number };
  std::string_view gguf, config;
  Type type = Type::size;
  enum class Need {
    required,
    optional,   // absent: the config's default
    must_equal  // read after the others: a file that says something else is refused
  };
  Need need = Need::required;
};

struct ArchitectureFamily {
  std::string_view name;
  std::span<const std::string_view> model_types;    // config.json "model_type"
  std::span<const std::string_view> architectures;  // config.json "architectures"; the causal model first
  Architecture (*describe)(const ConfigReader& config);
  /// The inverse: the keys of config.json that say what the description says, so that describe(write_config(a)) is a.
  nlohmann::ordered_json (*write_config)(const Architecture&);

  /// Activations of these models leave the range of float16: runtimes refuse to compute in it, or warn.
  bool activations_exceed_f16 = false;

  /// general.architecture; "": llama.cpp has no such model, and the rest is not used.
  std::string_view gguf = {};
  std::span<const GgufKey> gguf_keys = {};
  /// What the table cannot say: completes the config of a file, or the keys of a model.
  void (*read_gguf)(const GgufFacts&, nlohmann::json& config) = nullptr;
  void (*write_gguf)(const Architecture&, GgufKeys&) = nullptr;
  /// What a GGUF file could not hold of this model, and llama.cpp would compute otherwise; "": nothing.
  std::string (*gguf_refuses)(const Architecture&) = nullptr;
  /// Why transformers would not load a model of this shape; "": it does.
  std::string (*hub_refuses)(const Architecture&) = nullptr;
};

std::span<const ArchitectureFamily* const> all_families();

/// From a parsed config.json. Error unsupported for an unknown architecture (the known are listed) or a feature that
/// the family has and kerf does not; Error bad_input for missing or wrong keys, each named.
Architecture describe_architecture(const nlohmann::json& config);
/// From a GGUF file. Errors as above, in terms of its keys.
Architecture describe_gguf(const GgufFacts&);
/// general.architecture and the keys of the model, in the order in which they are written. Error unsupported when GGUF
/// has no name for the family or cannot hold what the model does.
GgufKeys gguf_keys(const Architecture&);
/// The factors that llama.cpp reads from the tensor rope_freqs.weight; empty where none are needed.
std::vector<float> gguf_rope_factors(const Architecture&);
/// What config.json calls the model with its head: "LlamaForCausalLM".
std::string_view causal_class(const Architecture&);
/// ArchitectureFamily::hub_refuses of its family.
std::string hub_refuses(const Architecture&);
/// ArchitectureFamily::activations_exceed_f16 of its family.
bool activations_exceed_f16(const Architecture&);
/// The keys of config.json for this architecture.
nlohmann::ordered_json write_config(const Architecture&);

}  // namespace kerf
