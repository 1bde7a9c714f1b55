// Reading keys of config.json for architecture plug-ins: every complaint names the key, as the file that was read
// spells it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch/architecture.h"

namespace kerf {

/// What complaints call the keys of a config that was made from another file, by their JSON pointers:
/// {"/hidden_size", "llama.embedding_length"}.
using KeySpellings = std::map<std::string, std::string>;

/// A JSON object with the name under which complaints speak of it ("config.json", "config.json: rope_scaling").
/// A key whose value is null counts as absent. All errors are bad_input.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string name, KeySpellings = {});

  bool has(const char* key) const;
  bool is_null(const char* key) const;
  const nlohmann::json& at(const char* key) const;
  /// A whole number in [1, limit].
  int64_t size(const char* key, int64_t limit = int64_t{1} << 31) const;
  int64_t size_or(const char* key, int64_t otherwise) const;
  /// A finite number.
  double number(const char* key) const;
  double number_or(const char* key, double otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;
  std::string text(const char* key) const;
  std::string text_or(const char* key, std::string otherwise) const;
  ConfigReader object(const char* key) const;
  const std::string& name() const { return name_; }
  /// The key in a sentence: quoted, or as the spellings have it.
  std::string spelled(const char* key) const;

 private:
  const nlohmann::json* find(const char* key) const;
  const nlohmann::json* object_;
  std::string name_, pointer_;  // the pointer of `object_`, "" at the root
  std::shared_ptr<const KeySpellings> spellings_;
};

/// The parts that configs of all families spell alike.
struct Dimensions {
  int64_t hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0, context = 0;
};
/// What a family's own configuration class takes for a key that is not there; 0: the general rule.
struct DimensionDefaults {
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden / heads, which must be whole
};
/// hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads (null: heads), head_dim,
/// vocab_size, max_position_embeddings, and what must divide what.
Dimensions read_dimensions(const ConfigReader&, const DimensionDefaults& = {});
/// rope_parameters, or rope_scaling with rope_theta: default, linear, llama3 and yarn; Error unsupported for others.
RopeTable read_rope(const ConfigReader&, double default_theta, int64_t context);
/// The base of rotations at `key`. Error bad_input unless it is positive and fits float32.
double read_theta(const ConfigReader&, const char* key, double otherwise);
/// The scaling that an object of one of these keys describes, over `table`'s theta.
RopeTable read_rope_object(const ConfigReader&, RopeTable table, int64_t context);
/// The inverse of read_rope_object(): {"rope_type": ...}, without theta.
nlohmann::ordered_json write_rope(const RopeTable&);
/// partial_rotary_factor (default 1) of a head, an even whole number.
int64_t read_rotated(const ConfigReader&, int64_t head_dim);
/// dtype or torch_dtype (F32 when absent), bos_token_id, eos_token_id (one or a list).
void read_dtype_and_ids(const ConfigReader&, Architecture&);
/// Their inverse.
void write_dtype_and_ids(const Architecture&, nlohmann::ordered_json&);

}  // namespace kerf
