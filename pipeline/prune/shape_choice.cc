#include "pipeline/prune/shape_choice.h"

#include <algorithm>
#include <optional>

#include "core/error.h"

namespace kerf {
namespace {

constexpr size_t kCombinations = 3;  // that are measured
constexpr int64_t kDepthSteps = 4, kHeadSteps = 4, kFfnSteps = 6, kHiddenSteps = 4;

bool same_cuts(const PrunedShape& x, const PrunedShape& y) {
  return x.depth == y.depth && x.cuts.size() == y.cuts.size() &&
         std::equal(x.cuts.begin(), x.cuts.end(), y.cuts.begin(),
                    [](const AxisCut& p, const AxisCut& q) { return p.keep == q.keep && p.with == q.with; });
}

// Of one axis, unless it is that of the last.
void add_if_new(std::vector<PrunedShape>& shapes, const std::optional<AxisCut>& cut) {
  if (!cut) return;
  PrunedShape s{.cuts = {*cut}};
  if (shapes.empty() || !same_cuts(shapes.back(), s)) shapes.push_back(std::move(s));
}

// One list for each axis, of growing cuts.
std::vector<std::vector<PrunedShape>> axes_alone(const Architecture& a, int64_t multiple) {
  std::vector<PrunedShape> depth, ffn, heads, hidden;
  const int64_t most = a.layers() / 2, steps = std::min(most, kDepthSteps);
  for (int64_t i = 1; i <= steps; ++i) depth.push_back({.depth = most * i / steps});
  for (int64_t i = 1; i <= kFfnSteps; ++i)
    add_if_new(ffn, cut_of_channels(a, "ffn", 1 - static_cast<double>(i) / 8, multiple));
  for (int64_t i = 1; i <= kHeadSteps; ++i)
    add_if_new(heads, cut_of_heads(a, 1 - static_cast<double>(i) / 8, multiple));
  for (int64_t i = 1; i <= kHiddenSteps; ++i)
    add_if_new(hidden, cut_of_channels(a, "hidden", 1 - static_cast<double>(i) / 8, multiple));
  return {std::move(hidden), std::move(depth), std::move(ffn), std::move(heads)};
}

PrunedShape combined(const PrunedShape& x, const PrunedShape& y) {
  PrunedShape s = x;
  s.depth = std::max(x.depth, y.depth);
  s.cuts.insert(s.cuts.end(), y.cuts.begin(), y.cuts.end());
  return s;
}

}  // namespace

ShapeChoice choose_shape(const Architecture& a, int64_t multiple, double most, const ShapeMeasures& measures) {
  const double whole = measures.size({});
  ShapeChoice choice;
  if (whole <= most) return choice;
  // Small enough, with as little cut as that takes along each axis.
  std::vector<ShapePoint> all = {{}};
  const auto axes = axes_alone(a, multiple);
  PrunedShape least;
  for (const std::vector<PrunedShape>& axis : axes)
    if (!axis.empty()) least = combined(least, axis.back());
  const double smallest = std::min(whole, measures.size(least));
  if (smallest > most)
    fail(ErrorKind::usage,
         "hidden, depth, ffn and heads together go down to {:.0f} of {:.0f}, and {:.0f} was asked for; cut the "
         "vocabulary too "
         "(--prune vocab=FILE), or give more",
         smallest, whole, most);
  for (const std::vector<PrunedShape>& axis : axes) {
    std::vector<ShapePoint> longer = all;
    for (const PrunedShape& shape : axis) {
      ShapePoint alone{.shape = shape, .size = measures.size(shape), .kl = measures.kl(shape), .measured = true};
      for (const ShapePoint& other : all)
        longer.push_back({.shape = combined(other.shape, shape), .kl = other.kl + alone.kl});
      const bool enough = alone.size <= most;
      choice.curve.push_back(std::move(alone));
      if (enough) break;
    }
    all = std::move(longer);
  }
  std::vector<ShapePoint> fits;
  for (ShapePoint& point : all) {
    point.size = measures.size(point.shape);
    if (point.size <= most && measures.loads(point.shape)) fits.push_back(std::move(point));
  }
  if (fits.empty())
    fail(ErrorKind::usage,
         "transformers loads none of the shapes that are small enough: hidden_size must be a multiple of the number of "
         "heads; give another --prune-multiple, or say hidden=, heads=, depth= and ffn= yourself");
  std::stable_sort(fits.begin(), fits.end(), [](const ShapePoint& x, const ShapePoint& y) { return x.kl < y.kl; });
  fits.resize(std::min(fits.size(), kCombinations));
  for (ShapePoint& point : fits) {
    const auto known = std::find_if(choice.curve.begin(), choice.curve.end(),
                                    [&](const ShapePoint& p) { return same_cuts(p.shape, point.shape); });
    point.kl = known != choice.curve.end() ? known->kl : measures.kl(point.shape);
    point.measured = true;
  }
  std::stable_sort(fits.begin(), fits.end(), [](const ShapePoint& x, const ShapePoint& y) { return x.kl < y.kl; });
  choice.shape = fits.front().shape;
  choice.combinations = std::move(fits);
  return choice;
}

}  // namespace kerf
