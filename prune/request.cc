#include "prune/request.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "core/error.h"
#include "core/units.h"

namespace kerf {
namespace {

constexpr std::string_view kAllowed =
    "depth=N, ffn=SHARE, heads=SHARE, hidden=SHARE, vocab=FILE or N, params=SHARE, bytes=SIZE, sparsity=SHARE, or a "
    "pattern such as 2:4";

std::optional<int64_t> count(std::string_view text) {
  int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

double kept_share(std::string_view key, std::string_view text) {
  const auto n = number_and_unit(text);
  if (!n || !n->unit.empty() || !(n->number > 0) || !(n->number < 1))
    fail(ErrorKind::usage, "--prune {}={}: the share that stays, above 0 and below 1, such as {}=0.75", key, text, key);
  return n->number;
}

// What the value is about, which only one may be: its key, or "zeros".
std::string add(std::string_view part, PruneRequest& r) {
  const size_t at = part.find('=');
  const std::string_view key = part.substr(0, at), value = at == std::string_view::npos ? "" : part.substr(at + 1);
  if (at == std::string_view::npos && part.find(':') != std::string_view::npos) {
    r.sparsity = parse_sparsity(part);
    return "zeros";
  } else if (key == "sparsity") {
    r.sparsity = parse_sparsity(value);
    return "zeros";
  } else if (key == "depth") {
    const auto n = count(value);
    if (!n || *n < 1)
      fail(ErrorKind::usage, "--prune depth={}: how many blocks go, a whole number from 1 on, such as depth=2", value);
    r.depth = *n;
  } else if (key == "ffn") {
    r.ffn = kept_share(key, value);
  } else if (key == "heads") {
    r.heads = kept_share(key, value);
  } else if (key == "hidden") {
    r.hidden = kept_share(key, value);
  } else if (key == "params") {
    r.params = kept_share(key, value);
  } else if (key == "bytes") {
    r.bytes = parse_bytes(value);
  } else if (key == "vocab") {
    if (value.empty())
      fail(ErrorKind::usage, "--prune vocab=: a text whose tokens stay, vocab=FILE, or how many, vocab=32000");
    const auto n = count(value);
    if (const auto number = number_and_unit(value); !n && number && number->unit.empty())
      fail(
          ErrorKind::usage,
          "--prune vocab={}: a text whose tokens stay, or how many tokens stay, a whole number; a file of that name is "
          "vocab=./{}",
          value, value);
    if (n && *n < 1)
      fail(ErrorKind::usage, "--prune vocab={}: how many tokens stay is a whole number from 1 on", value);
    if (n)
      r.vocabulary = *n;
    else
      r.vocabulary_texts.emplace_back(value);
  } else if (key == "experts") {
    fail(ErrorKind::unsupported, "--prune {}: kerf reads no model with experts; there is {}", part, kAllowed);
  } else {
    fail(ErrorKind::usage, "--prune {}: there is {}", part, kAllowed);
  }
  return std::string(key);
}

}  // namespace

bool asks_for_size(std::string_view part) { return part.starts_with("params=") || part.starts_with("bytes="); }

std::string vocabulary_text(std::string_view part) {
  constexpr std::string_view kVocab = "vocab=";
  if (!part.starts_with(kVocab) || count(part.substr(kVocab.size()))) return "";
  return std::string(part.substr(kVocab.size()));
}

PruneRequest parse_prune(std::span<const std::string> parts) {
  PruneRequest r;
  std::map<std::string, std::string> given;  // by what it is about
  for (const std::string& part : parts) {
    const auto [first, added] = given.try_emplace(add(part, r), part);
    if (!added && vocabulary_text(part).empty())
      fail(ErrorKind::usage, "--prune {} and --prune {} say two things about one; give one of them", first->second,
           part);
  }
  if (r.sized() && (r.depth > 0 || r.ffn < 1 || r.heads < 1 || r.hidden < 1))
    fail(ErrorKind::usage,
         "--prune params= and bytes= choose hidden, depth, ffn and heads themselves; give either these or a size");
  if (r.params < 1 && r.bytes > 0) fail(ErrorKind::usage, "--prune takes params= or bytes=, not both");
  return r;
}

}  // namespace kerf
