// A trie, entered at each byte that some token begins with. The odd cases follow the library: a token may take white
// space that another one already took, and its stretch may then begin before the one before ends.
#include "model/text/tokenizer_added.h"

#include <algorithm>

#include "core/error.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

// A search may look this far ahead at every position, so the length of a token bounds the time.
constexpr size_t kLongestToken = 4096;

unsigned classes_at(std::string_view text, size_t i) { return char_classes()[decode_utf8(text.data() + i).code]; }

size_t char_before(std::string_view text, size_t i) {
  --i;
  while ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

}  // namespace

void AddedMatcher::add(std::string_view spelling, const AddedToken& token) {
  if (spelling.empty()) return;
  if (spelling.size() > kLongestToken) {
    fail(ErrorKind::unsupported, "tokenizer: added token {} has {} bytes; kerf allows {}", token.id, spelling.size(),
         kLongestToken);
  }
  size_t at = 0;
  for (const char byte : spelling) {
    int32_t child = nodes_[at].child;
    while (child >= 0 && nodes_[static_cast<size_t>(child)].byte != byte) {
      child = nodes_[static_cast<size_t>(child)].sibling;
    }
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({.byte = byte, .sibling = nodes_[at].child});
      nodes_[at].child = child;
    }
    at = static_cast<size_t>(child);
  }
  nodes_[at].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  first_[static_cast<unsigned char>(spelling[0])] = true;
}

AddedMatcher::Match AddedMatcher::longest_at(std::string_view text, size_t begin) const {
  Match match;
  size_t at = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    int32_t child = nodes_[at].child;
    while (child >= 0 && nodes_[static_cast<size_t>(child)].byte != text[i]) {
      child = nodes_[static_cast<size_t>(child)].sibling;
    }
    if (child < 0) break;
    at = static_cast<size_t>(child);
    if (nodes_[at].token >= 0) match = {i + 1, nodes_[at].token};
  }
  return match;
}

std::vector<TextCut> AddedMatcher::cut(std::string_view text) const {
  std::vector<TextCut> cuts;
  size_t done = 0;
  for (size_t i = 0; i < text.size() && !tokens_.empty();) {
    if (!first_[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    const Match match = longest_at(text, i);
    if (match.token < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = i, end = match.end;
    i = match.end;
    if (token.single_word) {
      const bool word_before = begin > 0 && classes_at(text, char_before(text, begin)) & kWordClass;
      const bool word_after = end < text.size() && classes_at(text, end) & kWordClass;
      if (word_before || word_after) continue;
    }
    if (token.lstrip) {
      while (begin > 0) {
        const size_t before = char_before(text, begin);
        if (!(classes_at(text, before) & kSpaceClass)) break;
        begin = before;
      }
      begin = std::max(begin, done);
    }
    while (token.rstrip && end < text.size() && classes_at(text, end) & kSpaceClass) {
      end += decode_utf8(text.data() + end).bytes;
    }
    if (done < begin) cuts.push_back({done, begin, -1});
    cuts.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) cuts.push_back({done, text.size(), -1});
  return cuts;
}

}  // namespace kerf
