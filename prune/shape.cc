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

std::optional<AxisCut> cut_of_heads(const Architecture& a, double share) {
  const Axis &head = a.axis(a.axis_named("head")), &kv = a.axis(a.axis_named("kv"));
  const int64_t per_group = head.groups / kv.groups;
  const auto nearest = [&](int64_t most) {
    return std::clamp<int64_t>(std::llround(share * static_cast<double>(most)), 1, most);
  };
  const auto off = [&](int64_t keep, int64_t of) {
    return std::abs(static_cast<double>(keep) / static_cast<double>(of) - share);
  };
  const int64_t whole = nearest(kv.groups), even = nearest(per_group);
  if (off(whole, kv.groups) <= off(even, per_group) && whole < kv.groups)
    return AxisCut{
        .axis = "head", .group = per_group * head.group_size(), .groups = kv.groups, .keep = whole, .with = "kv"};
  if (even < per_group)
    return AxisCut{.axis = "head",
                   .group = head.group_size(),
                   .groups = head.groups,
                   .keep = even * kv.groups,
                   .family = per_group};
  return std::nullopt;
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
    const auto cut = cut_of_heads(a, r.heads);
    const Axis &head = a.axis(a.axis_named("head")), &kv = a.axis(a.axis_named("kv"));
    const int64_t least = std::max(kv.groups, head.groups / kv.groups);  // of which one may go
    if (!cut)
      fail(ErrorKind::usage,
           "--prune heads={}: of {} heads in {} groups that share keys and values none can go without more than that; "
           "give {:.3g} or less",
           r.heads, head.groups, kv.groups, 1.0 - 1.0 / static_cast<double>(least));
    s.cuts.push_back(*cut);
  }
  return s;
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
  for (const AxisCut& cut : s.cuts)
    parts.push_back(fmt::format("{}={}", cut.axis == "head" ? "heads" : cut.axis,
                                static_cast<double>(cut.keep) / static_cast<double>(cut.groups)));
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
