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
  /// Where the F16 offset of a block of 32 weights lies, in types whose activations are Q8_1; -1 otherwise.
  int64_t offset_at = -1;
  std::vector<float> random_rows(int64_t tokens, uint32_t seed) const;
};

/// Every shape class of a format; throws when it does not know the format.
std::vector<PackedCase> packed_cases(std::string_view format);
/// Whether it is a type of GGUF, which are defined down to the order of sums.
bool is_gguf(std::string_view format);
/// Types with blocks of 256 and Q8_K activations.
bool has_two_levels(std::string_view format);
/// Scales and offsets of one, codes as low or as high as they can be (row 0: all lowest): integer sums as large as they
/// get. `cols` is rounded up to whole blocks.
PackedCase extreme_case(std::string_view format, int64_t cols);

}  // namespace kerf::test
