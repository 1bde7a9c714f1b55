// Finding added tokens in a text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/tokenizer.h"

namespace kerf {

/// A stretch of text, or (id >= 0) an added token with the white space that it takes along.
struct TextCut {
  size_t begin = 0, end = 0;
  int32_t id = -1;
};

/// A set of added tokens, each with the spelling it is sought by.
class AddedMatcher {
 public:
  void add(std::string_view spelling, const AddedToken&);
  bool empty() const { return tokens_.empty(); }
  /// The text in order: tokens found leftmost first, the longest of those that begin at a place, and what lies between.
  /// A token that is refused where it stands (single_word) is not tried again in a shorter form.
  std::vector<TextCut> cut(std::string_view text) const;

 private:
  struct Node {
    char byte = 0;
    int32_t token = -1;  // index into tokens_
    int32_t child = -1, sibling = -1;
  };
  struct Match {
    size_t end = 0;
    int32_t token = -1;
  };
  Match longest_at(std::string_view text, size_t begin) const;

  std::vector<Node> nodes_{1};
  std::vector<AddedToken> tokens_;
  std::array<bool, 256> first_{};  // bytes that a token begins with
};

}  // namespace kerf
