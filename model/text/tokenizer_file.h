// tokenizer.json taken apart: its two large parts as lists, the rest as a JSON document.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kerf {

struct TokenizerFile {
  nlohmann::json rest;                                 // model.vocab and model.merges are left empty in it
  std::vector<std::pair<std::string, int64_t>> vocab;  // in the order of the file; of equal tokens the last counts
  std::vector<std::string> merges;                     // "left right"
  bool merge_pairs = false;                            // they stand in the file as ["left", "right"]
};

/// Error bad_input for what is no JSON, and for entries of the two parts that have the wrong type; unsupported for
/// merges of tokens that contain a space. `name` is what errors call the file.
TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name);

}  // namespace kerf
