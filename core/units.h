// Sizes and times as people write and read them: the one parser of sizes, for options, recipes and gates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kerf {

/// Bytes of a unit, in whatever case: "" and B, K, KB, M, MB, G, GB, T, TB (powers of 1000), Ki, KiB, Mi, MiB, ... (of
/// 1024); nullopt for anything else.
std::optional<double> bytes_of_unit(std::string_view unit);
/// The units, for sentences.
std::string_view size_units();

/// "90000000", "2.5MB", "1 GiB": a number with one of those units, fractions allowed, rounded to the nearest byte.
/// Error usage when it is none, below one byte, past 2^63, or a fraction of bytes without a unit.
uint64_t parse_bytes(std::string_view text);

/// The decimal number that the text begins with, and what follows it without the space between; nullopt where it begins
/// with none. No infinity, no NaN, no sign but "-".
struct NumberAndUnit {
  double number = 0;
  std::string_view unit;
};
std::optional<NumberAndUnit> number_and_unit(std::string_view text);

/// A whole number with commas between groups of three digits: "2,773,152".
std::string grouped(std::string digits);

/// "45 s", "28 min", "3 h 20 min": at least "1 s", to the nearest step.
std::string duration_text(double seconds);

}  // namespace kerf
