// A value of a JSON file together with the words to call it in an error.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "model/text/tokenizer.h"

namespace kerf {

struct Field {
  const nlohmann::json& value;
  std::string name;

  [[noreturn]] void wrong(std::string_view wanted) const {
    fail(ErrorKind::bad_input, "{}: expected {}, found {}", name, wanted, value.type_name());
  }
  Field required(const char* key) const {
    if (!value.is_object()) wrong("an object");
    const auto at = value.find(key);
    if (at == value.end()) fail(ErrorKind::bad_input, "{}: the key \"{}\" is missing", name, key);
    return {*at, name + "." + key};
  }
  bool has(const char* key) const {
    if (!value.is_object()) wrong("an object");
    const auto at = value.find(key);
    return at != value.end() && !at->is_null();
  }
  const std::string& text() const {
    if (!value.is_string()) wrong("a string");
    return value.get_ref<const std::string&>();
  }
  int64_t integer() const {
    if (!value.is_number_integer()) wrong("an integer");
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      fail(ErrorKind::bad_input, "{}: {} is out of range", name, value.get<uint64_t>());
    }
    return value.get<int64_t>();
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const Field f = required(key);
    if (!f.value.is_boolean()) f.wrong("true or false");
    return f.value.get<bool>();
  }
  std::string type() const { return required("type").text(); }
  [[noreturn]] void unknown(std::string_view known) const {
    fail(ErrorKind::unsupported, "{}: type \"{}\" is not supported; kerf knows {}", name, type(), known);
  }
};

/// The id of a token of a vocabulary of that many; bad_input for another number.
inline int32_t token_id(const Field& field, size_t tokens) {
  const int64_t id = field.integer();
  if (id < 0 || static_cast<uint64_t>(id) >= tokens) {
    fail(ErrorKind::bad_input, "{}: token {} is outside the vocabulary of {}", field.name, id, tokens);
  }
  return static_cast<int32_t>(id);
}

/// The types of tokens by the added ones, <0xNN> and the unknown token; the scores of new tokens are 0.
void set_token_types(TokenizerSpec&);

// The parts of tokenizer.json that are not the model, read into a spec whose tokens are known. A field may be null.
void read_normalizer(const Field&, TokenizerSpec&);
void read_pre_tokenizer(const Field&, TokenizerSpec&);
void read_post_processor(const Field&, TokenizerSpec&);
void read_decoder(const Field&, TokenizerSpec&);

}  // namespace kerf
