#include "prune/sparsity.h"

#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace kerf {
namespace {

std::optional<int> whole(std::string_view text) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace

Sparsity parse_sparsity(std::string_view text) {
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    const std::optional<int> zeros = whole(text.substr(0, colon)), of = whole(text.substr(colon + 1));
    if (!zeros || !of || *zeros < 1 || *zeros >= *of || *of > kWidestPattern)
      fail(ErrorKind::usage,
           "'{}' is no sparsity pattern: n:m makes n of every m neighbouring weights zero, 0 < n < m <= {}, as 2:4",
           text, kWidestPattern);
    return {.share = static_cast<double>(*zeros) / *of, .zeros = *zeros, .of = *of};
  }
  constexpr std::string_view kRow = "/row";
  const bool by_row = text.ends_with(kRow);
  const auto n = number_and_unit(by_row ? text.substr(0, text.size() - kRow.size()) : text);
  if (!n || !n->unit.empty() || !(n->number > 0) || !(n->number < 1))
    fail(ErrorKind::usage,
         "'{}' is no sparsity: the share of the weights that become zero, above 0 and below 1, such as 0.5, or 0.5/row "
         "for the same share of every row",
         text);
  return {.share = n->number, .by_row = by_row};
}

void check_pattern(const Sparsity& s, int64_t cols) {
  if (s.of == 0 || cols % s.of == 0) return;
  std::vector<int> dividing;
  for (int of = 2; of <= kWidestPattern; ++of)
    if (cols % of == 0) dividing.push_back(of);
  fail(ErrorKind::unsupported, "the pattern {} does not divide rows of {} weights; {}", text_of(s), cols,
       dividing.empty() ? fmt::format("give a share, sparsity={}", s.share)
                        : fmt::format("patterns over {} weights do, and any share, sparsity={}",
                                      fmt::join(dividing, ", "), s.share));
}

std::string text_of(const Sparsity& s) {
  if (s.of > 0) return fmt::format("{}:{}", s.zeros, s.of);
  return fmt::format("{}{}", s.share, s.by_row ? "/row" : "");
}

}  // namespace kerf
