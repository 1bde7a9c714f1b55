#include "pipeline/prune/structure_pace.h"

#include <algorithm>
#include <chrono>

#include "core/checked.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/prune/width.h"

namespace kerf {
namespace {

constexpr int64_t kTokens = 2048;

// Enough to hold some out.
Windows few_windows(const Windows& all) {
  return first_windows(all, std::min(all.count, std::max(ceil_div(kTokens, all.length), kHeldOutPart)));
}

template <class F>
double seconds_of(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

// From times with some windows and with fewer.
StructurePace::Line StructurePace::line(const std::function<void(const Windows&)>& work) const {
  const double tokens = static_cast<double>(some_.tokens()), less = static_cast<double>(fewer_.tokens());
  const double of_fewer = seconds_of([&] { work(fewer_); }), of_some = seconds_of([&] { work(some_); });
  if (less == tokens) return {0, of_some / tokens};
  const double slope = std::clamp((of_some - of_fewer) / (tokens - less), 0.0, of_some / tokens);
  return {of_some - slope * tokens, slope};
}

StructurePace::StructurePace(const Architecture& a, const TensorSource& source, bool correct, double damping,
                             const Windows& windows)
    : architecture_(a),
      source_(source),
      correct_(correct),
      damping_(damping),
      some_(few_windows(windows)),
      fewer_(first_windows(some_, std::max<int64_t>(1, some_.count / 2))) {}

double StructurePace::seconds(const PrunedShape& shape, int64_t tokens) {
  const Kind& kind = kind_of(shape);
  const int64_t stay = architecture_.layers() - shape.depth;
  const int64_t first = !correct_ ? stay : shape.cuts.empty() ? stay / 2 : 0;
  // Turning the stream and weighing its channels: two passes.
  const double stream =
      shape.cut_of("hidden") ? 2 * static_cast<double>(stay) * kind.gone.at(std::min(tokens, kWidthTokens)) : 0;
  return stream + static_cast<double>(first) * kind.first.at(tokens) +
         static_cast<double>(stay - first) * kind.later.at(tokens) +
         static_cast<double>(shape.depth) * kind.gone.at(tokens);
}

const StructurePace::Kind& StructurePace::kind_of(const PrunedShape& shape) {
  std::string name;
  for (const AxisCut& cut : shape.cuts) name += cut.axis + " ";
  const auto [at, is_new] = kinds_.try_emplace(name);
  if (!is_new) return at->second;
  const PrunedShape cuts{.cuts = shape.cuts};
  prune_one(cuts, 0, fewer_);  // once for the code of products that the library makes, and for memory
  Kind& kind = at->second;
  if (correct_ && architecture_.layers() > 1) {
    kind.gone = line([&](const Windows& w) { pass_one(w); });
    kind.later = line([&](const Windows& w) { prune_one(cuts, 1, w); });
    kind.later.fixed = std::max(kind.later.fixed - kind.gone.fixed, 0.0);
    kind.later.per_token = std::max(kind.later.per_token - kind.gone.per_token, 0.0);
  }
  if (!correct_ || cuts.cuts.empty() || architecture_.layers() == 1)
    kind.first = line([&](const Windows& w) { prune_one(cuts, 0, w); });
  if (architecture_.layers() == 1) kind.later = kind.first;
  return kind;
}

// With a layer before it, that is as if it were gone.
void StructurePace::prune_one(const PrunedShape& shape, int64_t layer, const Windows& windows) const {
  Scratch scratch;
  const TargetPlan nothing;
  PrunedShape stream;  // which is narrow from the start
  if (const AxisCut* width = shape.cut_of("hidden")) stream.cuts = {*width};
  Correspondence kept = first_of_everything(architecture_, stream);
  kept.layers = {layer};
  prune_structure({.architecture = architecture_,
                   .source = source_,
                   .shape = shape,
                   .kept = std::move(kept),
                   .correct = correct_,
                   .damping = damping_,
                   .windows = windows,
                   .validation_tokens = correct_ ? held_out_windows(windows.count) * windows.length : 0,
                   .scratch = scratch},
                  {&nothing, nullptr});
}

void StructurePace::pass_one(const Windows& windows) const {
  Scratch scratch;
  FullPrecisionRun run(architecture_, source_, windows, scratch);
  run.begin(0);
  while (const auto group = run.next_group()) run.go_on(*group);
}

}  // namespace kerf
