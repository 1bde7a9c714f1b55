// Random packed matrices and activations for every format, hostile values included.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/gemm.h"

namespace kerf::test {

struct PackedCase {
  std::string name;  // for messages
  std::vector<std::byte> codes, scales;
  PackedMatrix matrix;
  /// The same blocks with all codes zero (empty: weights are products of code and scale). What they stand for is an
  /// offset; kernels that add offsets up apart from the codes err in proportion to both.
  std::vector<std::byte> offsets;
  /// Roundings that one term of an output can go through, in whatever order a kernel sums (see gemm_test.cc).
  int64_t roundings = 0;
  std::vector<float> random_rows(int64_t tokens, uint32_t seed) const;
};

/// Every shape class of a format; throws when it does not know the format.
std::vector<PackedCase> packed_cases(std::string_view format);
bool is_gguf(std::string_view format);
/// Scales of one, every code as low as it can be: integer sums as large as they get.
PackedCase extreme_case(std::string_view format, int64_t cols);

}  // namespace kerf::test
