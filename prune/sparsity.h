// Which part of the weights of a matrix becomes zero, and among which they are compared.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kerf {

/// `zeros` of every `of` neighbouring weights of a row (2:4), or where `of` is 0 the share `share` of them, compared
/// within each row (`by_row`) or as far as the pruner goes (a matrix, a block of columns).
struct Sparsity {
  double share = 0;  // of the weights that become zero, 0 < share < 1; zeros / of where there is a pattern
  int zeros = 0, of = 0;
  bool by_row = false;
  bool operator==(const Sparsity&) const = default;
};

inline constexpr int kWidestPattern = 16;

/// "2:4" (zeros : of, 0 < zeros < of <= kWidestPattern), "0.5", or "0.5/row"; Error usage for anything else.
Sparsity parse_sparsity(std::string_view);
/// Error unsupported, with the patterns of a similar share that do, when the pattern does not divide a row of `cols`
/// weights.
void check_pattern(const Sparsity&, int64_t cols);
/// What parse_sparsity() would read.
std::string text_of(const Sparsity&);

}  // namespace kerf
