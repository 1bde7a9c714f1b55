#include "core/units.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/words.h"

namespace kerf {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

[[noreturn]] void refuse(std::string_view text) {
  std::string point(text);
  std::replace(point.begin(), point.end(), ',', '.');
  const auto with_point = number_and_unit(point);
  const bool comma = point != text && with_point && bytes_of_unit(with_point->unit);
  fail(ErrorKind::usage, "'{}' is no size; it is a number above 0 with a unit ({}) or of bytes, such as {}", text,
       size_units(), comma ? point : "2.5MB");
}

}  // namespace

std::optional<double> bytes_of_unit(std::string_view unit) {
  const std::string u = lower_case(unit);
  if (u.empty() || u == "b") return 1;
  constexpr std::string_view kPowers = "kmgt";
  const size_t power = kPowers.find(u[0]);
  if (power == std::string_view::npos) return std::nullopt;
  const std::string_view rest = std::string_view(u).substr(1);
  if (rest.empty() || rest == "b") return std::pow(1000.0, static_cast<double>(power + 1));
  if (rest == "i" || rest == "ib") return std::pow(1024.0, static_cast<double>(power + 1));
  return std::nullopt;
}

std::string_view size_units() { return "KB, MB, GB, TB, KiB, MiB, GiB or TiB"; }

std::optional<NumberAndUnit> number_and_unit(std::string_view text) {
  text = trim(text);
  NumberAndUnit n;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n.number);
  if (error != std::errc() || !std::isfinite(n.number)) return std::nullopt;
  n.unit = trim(text.substr(static_cast<size_t>(end - text.data())));
  return n;
}

uint64_t parse_bytes(std::string_view text) {
  const auto n = number_and_unit(text);
  const auto factor = n ? bytes_of_unit(n->unit) : std::nullopt;
  if (!factor) refuse(text);
  const double bytes = n->number * *factor;
  if (!(bytes >= 1 && bytes < 0x1p63) || (*factor == 1 && bytes != std::floor(bytes))) refuse(text);
  return static_cast<uint64_t>(std::llround(bytes));
}

std::string grouped(std::string digits) {
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string duration_text(double seconds) {
  constexpr double kMost = 1e15;
  const auto s = static_cast<int64_t>(std::llround(std::clamp(seconds, 1.0, kMost)));
  if (s < 120) return fmt::format("{} s", s);
  const int64_t minutes = (s + 30) / 60;
  if (minutes < 120) return fmt::format("{} min", minutes);
  if (minutes % 60 == 0) return fmt::format("{} h", minutes / 60);
  return fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

}  // namespace kerf
