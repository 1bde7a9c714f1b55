// What targets with integer weights and plain activations have in common: how their schemes are spelled, and the rules
// of the kernels that several runtimes share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "targets/target.h"

namespace kerf {

/// "w4-g128-asym": bits, weights per scale along a row (0: one scale per output channel), and flags after them.
struct WeightOnly {
  int bits = 4;
  int64_t group = 128;
  bool open = false;  // no group was said: 128, or what open_group() finds for a model
  bool asymmetric = false;
  bool v2 = false;

  /// "-g128" or "-channel"; "" while it is open.
  std::string group_text() const;
  /// With the group that open_group() finds, where it is open.
  WeightOnly closed(std::span<const int64_t> widths) const;
};

/// In lower case, with "-" for "_": "W4A16_ASYM" is "w4a16-asym".
std::string plain_scheme(std::string_view);

/// Reads "w" BITS `after_bits` ("-g" N | "-channel"), then the flags "-asym" and "-v2" in this order, of a
/// plain_scheme(). Without a group it stays open. nullopt when that is not what it says; bits
/// are 1 ... 9 here.
std::optional<WeightOnly> parse_weight_only(std::string_view scheme, std::string_view after_bits);

/// The same of integers with a scale per group or row; nullopt for other numbers.
std::optional<WeightOnly> weight_only(const Scheme&);

/// The largest group of 128, 64, 32 and 16 that divides all of these input widths; 0, the whole row, where none does.
int64_t open_group(std::span<const int64_t> widths);

/// The groups of `choices` that divide n, "g32, g64 or channel": for sentences.
std::string groups_dividing(int64_t n, std::span<const int64_t> choices);

/// Powers of two from 16 to 1024: the groups that people use.
std::span<const int64_t> usual_groups();

/// What vLLM's Marlin kernels would not take of a matrix, in words that are the same for all matrices of one shape; ""
/// when they take it. Source: vllm/model_executor/layers/quantization/utils/marlin_utils.py.
std::string marlin_remark(const WeightOnly&, const SiteShape&);

}  // namespace kerf
