#include "pipeline/prune/depth.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "core/log.h"
#include "core/parallel.h"
#include "model/run/evaluate.h"
#include "model/run/fast_linear.h"
#include "prune/slice.h"

namespace kerf {
namespace {

using Layers = std::vector<int64_t>;

constexpr int64_t kFewSets = 40;  // that are all rescored
constexpr int64_t kRuns = 8;      // of neighbours that are
constexpr int64_t kSinglesPerStep = 6;

// All sets of `count` of `layers` layers, as long as there are at most kFewSets.
std::vector<Layers> all_sets(int64_t layers, int64_t count) {
  double sets = 1;
  for (int64_t i = 0; i < count; ++i) sets = sets * static_cast<double>(layers - i) / static_cast<double>(i + 1);
  if (sets > kFewSets) return {};
  std::vector<Layers> all;
  std::vector<uint8_t> chosen(static_cast<size_t>(layers));
  std::fill_n(chosen.begin(), count, uint8_t{1});
  do {
    Layers set;
    for (int64_t layer = 0; layer < layers; ++layer)
      if (chosen[static_cast<size_t>(layer)]) set.push_back(layer);
    all.push_back(std::move(set));
  } while (std::prev_permutation(chosen.begin(), chosen.end()));
  return all;
}

}  // namespace

struct DepthSearch::State {
 public:
  State(const Architecture& a, const TensorSource& source, const Windows& windows, Scratch& scratch)
      : a_(a), source_(source), windows_(windows), weights_(dense_weights(a, source)) {
    reference_.emplace(a, *weights_, fast_arithmetic(), windows_);
    const auto keep = [&] {
      ScratchArray copy = scratch.floats(static_cast<int64_t>(reference_->hidden().size()));
      std::copy(reference_->hidden().begin(), reference_->hidden().end(), copy.data());
      states_.push_back(std::move(copy));
    };
    keep();
    for (int64_t layer = 0; layer < a.layers(); ++layer) {
      reference_->run_block(layer);
      keep();
    }
    reference_->finish();
  }

  DepthChoice choose(int64_t count) {
    DepthChoice choice;
    for (int64_t layer = 0; layer < a_.layers(); ++layer) choice.similarity.push_back(similarity(layer, layer + 1));
    std::set<Layers> sets;
    for (Layers& set : all_sets(a_.layers(), count)) sets.insert(std::move(set));
    if (sets.empty()) {
      for (Layers& run : best_runs(count)) sets.insert(std::move(run));
      sets.insert(least_changing(choice.similarity, count));
      sets.insert(grown(choice.similarity, count));
    }
    measure({sets.begin(), sets.end()});
    for (const Layers& set : sets) choice.candidates.push_back({set, similarity_of(set), kl_.at(set)});
    std::stable_sort(choice.candidates.begin(), choice.candidates.end(),
                     [](const DepthCandidate& x, const DepthCandidate& y) { return x.kl < y.kl; });
    choice.kept = others_than(choice.candidates.front().removed, a_.layers());
    return choice;
  }

  // Mean cosine between the hidden states before layers `begin` and `end`.
  double similarity(int64_t begin, int64_t end) const {
    const int64_t hidden = a_.hidden(), tokens = windows_.tokens();
    std::vector<double> cosines(static_cast<size_t>(tokens));
    parallel_for(tokens, [&](int64_t t) {
      const float *x = states_[static_cast<size_t>(begin)].data() + t * hidden,
                  *y = states_[static_cast<size_t>(end)].data() + t * hidden;
      double xy = 0, xx = 0, yy = 0;
      for (int64_t i = 0; i < hidden; ++i) {
        const auto a = static_cast<double>(x[i]), b = static_cast<double>(y[i]);
        xy += a * b;
        xx += a * a;
        yy += b * b;
      }
      cosines[static_cast<size_t>(t)] = xy / std::max(std::sqrt(xx * yy), 1e-30);
    });
    return std::accumulate(cosines.begin(), cosines.end(), 0.0) / static_cast<double>(tokens);
  }

  double similarity_of(const Layers& set) const {
    double sum = 0;
    for (size_t i = 0; i < set.size();) {
      size_t end = i + 1;
      while (end < set.size() && set[end] == set[end - 1] + 1) ++end;
      sum += similarity(set[i], set[end - 1] + 1);
      i = end;
    }
    return sum;
  }

  std::vector<Layers> best_runs(int64_t count) const {
    std::vector<std::pair<double, int64_t>> runs;
    for (int64_t begin = 0; begin + count <= a_.layers(); ++begin)
      runs.emplace_back(-similarity(begin, begin + count), begin);
    std::sort(runs.begin(), runs.end());
    std::vector<Layers> best;
    for (size_t i = 0; i < std::min<size_t>(runs.size(), kRuns); ++i) {
      Layers run(static_cast<size_t>(count));
      std::iota(run.begin(), run.end(), runs[i].second);
      best.push_back(std::move(run));
    }
    return best;
  }

  Layers least_changing(const std::vector<double>& similarity, int64_t count) const {
    Layers order(similarity.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
      return similarity[static_cast<size_t>(x)] > similarity[static_cast<size_t>(y)];
    });
    order.resize(static_cast<size_t>(count));
    std::sort(order.begin(), order.end());
    return order;
  }

  // Block by block the one of least KL, among those that change their input least.
  Layers grown(const std::vector<double>& similarity, int64_t count) {
    Layers set;
    for (int64_t step = 0; step < count; ++step) {
      Layers order = others_than(set, a_.layers());
      std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
        return similarity[static_cast<size_t>(x)] > similarity[static_cast<size_t>(y)];
      });
      order.resize(std::min<size_t>(order.size(), kSinglesPerStep));
      std::vector<Layers> larger;
      for (const int64_t layer : order) {
        larger.push_back(set);
        larger.back().insert(std::upper_bound(set.begin(), set.end(), layer) - set.begin() + larger.back().begin(),
                             layer);
      }
      measure(larger);
      set = *std::min_element(larger.begin(), larger.end(),
                              [&](const Layers& x, const Layers& y) { return kl_.at(x) < kl_.at(y); });
    }
    return set;
  }

  // A model without some blocks, run to its end.
  struct Run {
    Architecture small;
    SlicedWeights source;
    std::unique_ptr<WeightProvider> weights;
    std::optional<BlockwiseForward> stream;
    std::unique_ptr<Logits> logits;
  };

  std::unique_ptr<Run> run_without(const Layers& removed) const {
    const Correspondence kept{.layers = others_than(removed, a_.layers())};
    auto run = std::make_unique<Run>(Run{sliced(a_, kept), SlicedWeights(a_, source_, kept), nullptr, {}, nullptr});
    run->weights = dense_weights(run->small, run->source);
    run->stream.emplace(run->small, *run->weights, fast_arithmetic(), windows_);
    // As far as nothing is missing, the states are the original's.
    const int64_t first = removed.front();
    if (first > 0) {
      const ScratchArray& states = states_[static_cast<size_t>(first)];
      run->stream->restore(first - 1, {states.data(), static_cast<size_t>(states.size())});
    }
    for (int64_t layer = first; layer < run->small.layers(); ++layer) run->stream->run_block(layer);
    run->stream->finish();
    run->logits = std::make_unique<Logits>(run->small, *run->weights, *run->stream);
    return run;
  }

  // The KL of each, unless it is known; the original's logits are computed once for all.
  void measure(const std::vector<Layers>& sets) {
    std::vector<Layers> unknown;
    std::vector<std::unique_ptr<Run>> runs;
    std::vector<const Logits*> logits;
    for (const Layers& set : sets) {
      if (kl_.contains(set)) continue;
      unknown.push_back(set);
      runs.push_back(run_without(set));
      logits.push_back(runs.back()->logits.get());
    }
    if (unknown.empty()) return;
    const Logits reference(a_, *weights_, *reference_);
    const std::vector<Comparison> compared = compare(reference, logits, windows_);
    for (size_t i = 0; i < unknown.size(); ++i) {
      kl_[unknown[i]] = compared[i].kl_mean;
      note(fmt::format("without block{} {}: KL {:.4f}", unknown[i].size() == 1 ? "" : "s", fmt::join(unknown[i], ", "),
                       compared[i].kl_mean));
    }
  }

  const Architecture& a_;
  const TensorSource& source_;
  const Windows& windows_;
  const std::unique_ptr<WeightProvider> weights_;
  std::optional<BlockwiseForward> reference_;
  std::vector<ScratchArray> states_;  // before each block, and after the last
  std::map<Layers, double> kl_;
};

DepthWork depth_work(int64_t layers, int64_t count) {
  const auto all = static_cast<double>(layers), left = static_cast<double>(layers - count);
  DepthWork work{.passes = 1, .heads = 1};
  const std::vector<Layers> sets = all_sets(layers, count);
  for (const Layers& set : sets) work.passes += (left - static_cast<double>(set.front())) / all;
  work.heads += static_cast<double>(sets.size());
  if (!sets.empty()) return work;
  const auto steps = static_cast<double>(count);
  const double runs = std::min<double>(kRuns, left + 1) + 1;
  work.passes += runs * left / all / 2;
  work.heads += runs;
  // The set that grows: the smaller it is, the more blocks are left to run.
  work.passes += kSinglesPerStep * steps * (left + steps / 2) / all / 2;
  work.heads += steps * (kSinglesPerStep + 1);
  return work;
}

DepthSearch::DepthSearch(const Architecture& a, const TensorSource& source, const Windows& windows, Scratch& scratch)
    : state_(std::make_unique<State>(a, source, windows, scratch)) {}
DepthSearch::~DepthSearch() = default;
DepthChoice DepthSearch::choose(int64_t count) { return state_->choose(count); }

}  // namespace kerf
