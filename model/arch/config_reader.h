// Reading keys of config.json for architecture plug-ins: every complaint names the key.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "model/arch/architecture.h"

namespace kerf {

/// A JSON object with the name under which complaints speak of it ("config.json", "config.json: rope_scaling").
/// A key whose value is null counts as absent. All errors are bad_input.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string name);

  bool has(const char* key) const;
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

 private:
  const nlohmann::json* find(const char* key) const;
  const nlohmann::json* object_;
  std::string name_;
};

/// The parts that configs of all families spell alike.
/// Dimensions: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads (default:
/// heads), head_dim (default: hidden / heads), vocab_size, max_position_embeddings, and what must divide what.
void read_dimensions(const ConfigReader&, Architecture&);
/// rope_parameters, or rope_scaling with rope_theta; Error unsupported for other types than default, linear, llama3 and
/// for rotation of a part of each head.
Rope read_rope(const ConfigReader&, double default_theta, int64_t context);
/// dtype or torch_dtype (F32 when absent), bos_token_id, eos_token_id (one or a list).
void read_dtype_and_ids(const ConfigReader&, Architecture&);

}  // namespace kerf
