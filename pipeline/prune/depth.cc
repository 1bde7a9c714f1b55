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

Layers complement(const Layers& removed, int64_t layers) {
  Layers kept;
  for (int64_t layer = 0; layer < layers; ++layer)
    if (!std::binary_search(removed.begin(), removed.end(), layer)) kept.push_back(layer);
  return kept;
}

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

class DepthSearch {
 public:
  DepthSearch(const Architecture& a, const TensorSource& source, int64_t count, const Windows& windows,
              Scratch& scratch)
      : a_(a), source_(source), count_(count), windows_(windows), weights_(dense_weights(a, source)) {
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

  DepthChoice run() {
    DepthChoice choice;
    for (int64_t layer = 0; layer < a_.layers(); ++layer) choice.similarity.push_back(similarity(layer, layer + 1));
    std::set<Layers> sets;
    for (Layers& set : all_sets(a_.layers(), count_)) sets.insert(std::move(set));
    if (sets.empty()) {
      for (Layers& run : best_runs()) sets.insert(std::move(run));
      sets.insert(least_changing(choice.similarity));
      sets.insert(grown(choice.similarity));
    }
    for (const Layers& set : sets) choice.candidates.push_back({set, similarity_of(set), kl_without(set)});
    std::stable_sort(choice.candidates.begin(), choice.candidates.end(),
                     [](const DepthCandidate& x, const DepthCandidate& y) { return x.kl < y.kl; });
    choice.kept = complement(choice.candidates.front().removed, a_.layers());
    return choice;
  }

 private:
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

  std::vector<Layers> best_runs() const {
    std::vector<std::pair<double, int64_t>> runs;
    for (int64_t begin = 0; begin + count_ <= a_.layers(); ++begin)
      runs.emplace_back(-similarity(begin, begin + count_), begin);
    std::sort(runs.begin(), runs.end());
    std::vector<Layers> best;
    for (size_t i = 0; i < std::min<size_t>(runs.size(), kRuns); ++i) {
      Layers run(static_cast<size_t>(count_));
      std::iota(run.begin(), run.end(), runs[i].second);
      best.push_back(std::move(run));
    }
    return best;
  }

  Layers least_changing(const std::vector<double>& similarity) const {
    Layers order(similarity.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
      return similarity[static_cast<size_t>(x)] > similarity[static_cast<size_t>(y)];
    });
    order.resize(static_cast<size_t>(count_));
    std::sort(order.begin(), order.end());
    return order;
  }

  // Block by block the one of least KL, among those that change their input least.
  Layers grown(const std::vector<double>& similarity) {
    Layers set;
    for (int64_t step = 0; step < count_; ++step) {
      Layers order = complement(set, a_.layers());
      std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
        return similarity[static_cast<size_t>(x)] > similarity[static_cast<size_t>(y)];
      });
      order.resize(std::min<size_t>(order.size(), kSinglesPerStep));
      Layers best;
      for (const int64_t layer : order) {
        Layers larger = set;
        larger.insert(std::upper_bound(larger.begin(), larger.end(), layer), layer);
        if (best.empty() || kl_without(larger) < kl_without(best)) best = std::move(larger);
      }
      set = std::move(best);
    }
    return set;
  }

  double kl_without(const Layers& removed) {
    const auto known = kl_.find(removed);
    if (known != kl_.end()) return known->second;
    const Correspondence kept{.layers = complement(removed, a_.layers())};
    const Architecture small = sliced(a_, kept);
    const SlicedWeights source(a_, source_, kept);
    const auto weights = dense_weights(small, source);
    BlockwiseForward run(small, *weights, fast_arithmetic(), windows_);
    // As far as nothing is missing, the states are the original's.
    const int64_t first = removed.front();
    if (first > 0) {
      const ScratchArray& states = states_[static_cast<size_t>(first)];
      run.restore(first - 1, {states.data(), static_cast<size_t>(states.size())});
    }
    for (int64_t layer = first; layer < small.layers(); ++layer) run.run_block(layer);
    run.finish();
    const Logits logits(small, *weights, run), reference(a_, *weights_, *reference_);
    const Logits* const packed[] = {&logits};
    const double kl = compare(reference, packed, windows_)[0].kl_mean;
    note(fmt::format("without block{} {}: KL {:.4f}", removed.size() == 1 ? "" : "s", fmt::join(removed, ", "), kl));
    kl_.emplace(removed, kl);
    return kl;
  }

  const Architecture& a_;
  const TensorSource& source_;
  const int64_t count_;
  const Windows& windows_;
  const std::unique_ptr<WeightProvider> weights_;
  std::optional<BlockwiseForward> reference_;
  std::vector<ScratchArray> states_;  // before each block, and after the last
  std::map<Layers, double> kl_;
};

}  // namespace

DepthChoice choose_depth(const Architecture& a, const TensorSource& source, int64_t count, const Windows& windows,
                         Scratch& scratch) {
  return DepthSearch(a, source, count, windows, scratch).run();
}

}  // namespace kerf
