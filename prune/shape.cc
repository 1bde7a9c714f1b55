#include "prune/shape.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace kerf {
namespace {

std::vector<int64_t> up_to(int64_t n) {
  std::vector<int64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// In --prune.
std::string key_of(const AxisCut& cut) { return cut.axis == "head" ? "heads" : cut.axis; }
double share_of(const AxisCut& cut) { return static_cast<double>(cut.keep) / static_cast<double>(cut.groups); }

// All that --prune heads= chooses from; whole groups first.
std::vector<AxisCut> cuts_of_heads(const Architecture& a, int64_t multiple) {
  const Axis &head = a.axis(a.axis_named("head")), &kv = a.axis(a.axis_named("kv"));
  const int64_t per_group = head.groups / kv.groups, size = head.group_size();
  std::vector<AxisCut> cuts;
  for (int64_t keep = 1; keep < kv.groups; ++keep)
    cuts.push_back({.axis = "head", .group = per_group * size, .groups = kv.groups, .keep = keep, .with = "kv"});
  for (int64_t keep = 1; keep < per_group; ++keep)
    cuts.push_back(
        {.axis = "head", .group = size, .groups = head.groups, .keep = keep * kv.groups, .family = per_group});
  const int64_t of_all = std::gcd(multiple, head.size);
  const auto fits = [&](const AxisCut& cut) { return cut.keep * cut.group % of_all == 0; };
  if (std::any_of(cuts.begin(), cuts.end(), fits)) std::erase_if(cuts, [&](const AxisCut& cut) { return !fits(cut); });
  return cuts;
}

}  // namespace

const AxisCut* PrunedShape::cut_of(const std::string& axis) const {
  for (const AxisCut& c : cuts)
    if (c.axis == axis) return &c;
  return nullptr;
}

std::optional<AxisCut> cut_of_channels(const Architecture& a, const char* axis, double share, int64_t multiple) {
  const int64_t size = a.axis(a.axis_named(axis)).size;
  const int64_t nearest = std::llround(share * static_cast<double>(size) / static_cast<double>(multiple)) * multiple;
  const int64_t keep = std::max(nearest, multiple);
  if (keep >= size) return std::nullopt;
  return AxisCut{.axis = axis, .groups = size, .keep = keep};
}

std::optional<AxisCut> cut_of_heads(const Architecture& a, double share, int64_t multiple) {
  const std::vector<AxisCut> cuts = cuts_of_heads(a, multiple);
  const auto off = [&](const AxisCut& cut) { return std::abs(share_of(cut) - share); };
  const auto nearest =
      std::min_element(cuts.begin(), cuts.end(), [&](const AxisCut& x, const AxisCut& y) { return off(x) < off(y); });
  if (nearest == cuts.end() || off(*nearest) > 1 - share) return std::nullopt;
  return *nearest;
}

PrunedShape pruned_shape(const Architecture& a, const PruneRequest& r, int64_t multiple) {
  PrunedShape s{.depth = r.depth};
  if (r.depth > 0 && a.layers() == 1)
    fail(ErrorKind::usage, "--prune depth={}: the model has one block, which stays", r.depth);
  if (r.depth >= a.layers())
    fail(ErrorKind::usage, "--prune depth={}: the model has {} blocks, of which at least one stays; give 1 to {}",
         r.depth, a.layers(), a.layers() - 1);
  const auto cut_channels = [&](const char* axis, double share) {
    if (share >= 1) return;
    const auto cut = cut_of_channels(a, axis, share, multiple);
    const int64_t size = a.axis(a.axis_named(axis)).size;
    if (!cut)
      fail(ErrorKind::usage,
           "--prune {}={}: of {} channels {} would stay, in multiples of {}, which is all of them; give a smaller "
           "share, or a smaller --prune-multiple",
           axis, share, size, size, multiple);
    s.cuts.push_back(*cut);
  };
  cut_channels("hidden", r.hidden);
  cut_channels("ffn", r.ffn);
  if (r.heads < 1) {
    const auto cut = cut_of_heads(a, r.heads, multiple);
    if (!cut) {
      const Axis &head = a.axis(a.axis_named("head")), &kv = a.axis(a.axis_named("kv"));
      double most = 0;
      for (const AxisCut& other : cuts_of_heads(a, multiple)) most = std::max(most, share_of(other));
      fail(ErrorKind::usage, "--prune heads={}: of {} heads in {} groups that share keys and values {}", r.heads,
           head.groups, kv.groups,
           most == 0
               ? "none can go"
               : fmt::format("none can go without more than that, in widths that are multiples of {}; give {:.3g} "
                             "or less",
                             std::gcd(multiple, head.size), most));
    }
    s.cuts.push_back(*cut);
  }
  return s;
}

std::vector<std::string> shares_missed(const Architecture& a, const PruneRequest& r, const PrunedShape& s,
                                       int64_t multiple) {
  constexpr double kNear = 0.05;
  std::vector<std::string> missed;
  for (const AxisCut& cut : s.cuts) {
    const double asked = cut.axis == "head" ? r.heads : cut.axis == "ffn" ? r.ffn : r.hidden;
    if (asked < 1 && std::abs(share_of(cut) - asked) > kNear)
      missed.push_back(fmt::format("--prune {}={}: the nearest that can be had is {:.3g} ({}), {}", key_of(cut), asked,
                                   share_of(cut), describe(a, {.cuts = {cut}}).front(),
                                   cut.axis == "head"
                                       ? "as heads go in whole groups or evenly from each, in widths of the target"
                                       : fmt::format("in multiples of {} (--prune-multiple)", multiple)));
  }
  return missed;
}

std::vector<std::string> describe(const Architecture& a, const PrunedShape& s) {
  std::vector<std::string> lines;
  if (s.depth > 0) lines.push_back(fmt::format("depth: {} of {} blocks", a.layers() - s.depth, a.layers()));
  for (const AxisCut& cut : s.cuts) {
    const Axis& axis = a.axis(a.axis_named(cut.axis));
    if (axis.groups == 1) {
      lines.push_back(fmt::format("{}: {} of {} channels", cut.axis, cut.keep, cut.groups));
      continue;
    }
    const int64_t heads = cut.keep * cut.group / axis.group_size();
    lines.push_back(fmt::format("heads: {} of {}{}", heads, axis.groups,
                                cut.with.empty()
                                    ? ", as many of each group that shares keys and values"
                                    : fmt::format(", with {} of {} of keys and values", cut.keep, cut.groups)));
  }
  return lines;
}

std::vector<std::string> request_of(const PrunedShape& s) {
  std::vector<std::string> parts;
  if (s.depth > 0) parts.push_back(fmt::format("depth={}", s.depth));
  for (const AxisCut& cut : s.cuts) parts.push_back(fmt::format("{}={}", key_of(cut), share_of(cut)));
  return parts;
}

Correspondence first_of_everything(const Architecture& a, const PrunedShape& s) {
  Correspondence c;
  if (s.depth > 0) c.layers = up_to(a.layers() - s.depth);
  for (const AxisCut& cut : s.cuts) {
    const Axis& axis = a.axis(a.axis_named(cut.axis));
    const int64_t element = axis.groups > 1 ? axis.group_size() : 1;
    c.axes[cut.axis] = {up_to(cut.keep * cut.group / element)};
    if (!cut.with.empty()) c.axes[cut.with] = {up_to(cut.keep)};
  }
  return c;
}

}  // namespace kerf
