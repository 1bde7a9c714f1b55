#include "targets/weight_only.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/words.h"

namespace kerf {
namespace {

constexpr int64_t kUsualGroups[] = {16, 32, 64, 128, 256, 512, 1024};

bool take(std::string_view* s, std::string_view prefix) {
  if (!s->starts_with(prefix)) return false;
  s->remove_prefix(prefix.size());
  return true;
}

// A number of at most seven digits, without sign or leading zero.
std::optional<int64_t> take_number(std::string_view* s) {
  int64_t n = 0;
  const auto [end, error] = std::from_chars(s->data(), s->data() + s->size(), n);
  const auto digits = static_cast<size_t>(end - s->data());
  if (error != std::errc() || digits > 7 || n < 1 || s->front() == '0') return std::nullopt;
  s->remove_prefix(digits);
  return n;
}

}  // namespace

std::string WeightOnly::group_text() const {
  if (open) return "";
  return group == 0 ? "-channel" : fmt::format("-g{}", group);
}

WeightOnly WeightOnly::closed(std::span<const int64_t> widths) const {
  WeightOnly w = *this;
  if (open) w.group = open_group(widths);
  w.open = false;
  return w;
}

std::string plain_scheme(std::string_view scheme) {
  std::string plain = lower_case(scheme);
  std::replace(plain.begin(), plain.end(), '_', '-');
  return plain;
}

std::optional<WeightOnly> parse_weight_only(std::string_view scheme, std::string_view after_bits) {
  const std::string plain = plain_scheme(scheme);
  std::string_view s = plain;
  WeightOnly w;
  if (!take(&s, "w")) return std::nullopt;
  const auto bits = take_number(&s);
  if (!bits || *bits > 9 || !take(&s, after_bits)) return std::nullopt;
  w.bits = static_cast<int>(*bits);
  if (take(&s, "-channel")) {
    w.group = 0;
  } else if (take(&s, "-g")) {
    const auto group = take_number(&s);
    if (!group) return std::nullopt;
    w.group = *group;
  } else {
    w.open = true;
  }
  w.asymmetric = take(&s, "-asym");
  w.v2 = take(&s, "-v2");
  if (!s.empty()) return std::nullopt;
  return w;
}

std::optional<WeightOnly> weight_only(const Scheme& s) {
  if (s.grid != "int" || s.levels.empty() || s.levels.size() > 2 || s.levels[0].block.rows != 1) return std::nullopt;
  return WeightOnly{.bits = s.bits, .group = s.levels[0].block.cols, .asymmetric = s.levels.size() == 2};
}

std::span<const int64_t> usual_groups() { return kUsualGroups; }

int64_t open_group(std::span<const int64_t> widths) {
  for (const int64_t g : {128, 64, 32, 16})
    if (std::all_of(widths.begin(), widths.end(), [&](int64_t n) { return n % g == 0; })) return g;
  return 0;
}

std::string groups_dividing(int64_t n, std::span<const int64_t> choices) {
  std::string text;
  for (const int64_t g : choices)
    if (g <= n && n % g == 0) text += fmt::format("{}g{}", text.empty() ? "" : ", ", g);
  return text.empty() ? "channel" : text + " or channel";
}

std::string marlin_remark(const WeightOnly& w, const SiteShape& site) {
  if (w.group != 0 && w.group != 32 && w.group != 64 && w.group != 128)
    return fmt::format("vLLM's fast kernel takes groups of 32, 64, 128 or channel, not {}; only its slow path is left",
                       w.group);
  if (site.out % 64 != 0 || site.in % 128 != 0)
    return fmt::format(
        "matrices [{}, {}]: vLLM's fast kernel wants outputs divisible by 64 and inputs by 128; only its slow path is "
        "left",
        site.out, site.in);
  return "";
}

}  // namespace kerf
