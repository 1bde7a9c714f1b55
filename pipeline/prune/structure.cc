// The model runs at its full width, with zeros where columns have gone; rows go when a block is complete and written.
#include "pipeline/prune/structure.h"

#include <algorithm>
#include <map>
#include <optional>

#include "core/log.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_statistics.h"
#include "pipeline/calibrate/outcome_notes.h"
#include "prune/slice.h"
#include "solver/column_elimination.h"

namespace kerf {
namespace {

using Group = BlockwiseForward::Group;
using Replacement = BlockwiseForward::Replacement;

// A matrix of the block in work: columns that have gone are no more in it, rows still are.
struct BlockMatrix {
  std::vector<float> w;
  int64_t cols = 0;
};

std::vector<float> picked_rows(const BlockMatrix& m, const std::vector<int64_t>& rows) {
  if (rows.empty()) return m.w;
  std::vector<float> picked;
  picked.reserve(rows.size() * static_cast<size_t>(m.cols));
  for (const int64_t r : rows) picked.insert(picked.end(), m.w.begin() + r * m.cols, m.w.begin() + (r + 1) * m.cols);
  return picked;
}

// [rows, cols] with zeros in the columns that are not kept.
std::vector<float> spread(const std::vector<float>& w, int64_t rows, int64_t cols, const std::vector<int64_t>& kept) {
  std::vector<float> whole(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (size_t k = 0; k < kept.size(); ++k)
      whole[static_cast<size_t>(r * cols + kept[k])] = w[static_cast<size_t>(r) * kept.size() + k];
  return whole;
}

double relative_error(const Hessian& h, const std::vector<float>& w, const std::vector<float>& values, int64_t rows) {
  return squared_error(h, w, values, rows) / std::max(squared_outputs(h, w, rows), 1e-30);
}

class StructurePass {
 public:
  StructurePass(const StructureJob& job, const PackJob& out)
      : job_(job),
        out_(out),
        wide_(sliced(job.architecture, at_full_width())),
        small_(sliced(job.architecture, final_shape())),
        source_(job.architecture, job.source, at_full_width()),
        weights_(dense_weights(wide_, source_)),
        stream_(wide_, *weights_, fast_arithmetic(), job.windows, &job.scratch),
        planned_(by_name(*out.plan)) {
    if (job.correct) full_.emplace(job.architecture, job.source, job.windows, job.scratch);
    result_.kept = job.kept;
  }

  PrunedStructure run() {
    warn_of_few_tokens(wide_, job_.windows.tokens(), job_.damping);
    Progress progress("pruning block", wide_.layers());
    for (int64_t layer = 0; layer < wide_.layers(); ++layer) {
      run_block(layer);
      progress.advance();
    }
    return std::move(result_);
  }

 private:
  Correspondence at_full_width() const { return {.layers = job_.kept.layers}; }
  Correspondence final_shape() const {
    Correspondence c = first_of_everything(job_.architecture, job_.shape);
    c.layers = job_.kept.layers;
    return c;
  }

  void run_block(int64_t layer) {
    const int64_t original = job_.kept.layer(layer);
    for (; full_ && full_layer_ < original; ++full_layer_) skip_block(full_layer_);
    matrices_.clear();
    stream_.begin_groups(layer);
    if (full_) full_->begin(full_layer_);
    while (const std::optional<Group> g = stream_.next_group()) {
      const std::optional<Group> full = full_ ? full_->next_group() : std::nullopt;
      stream_.replace(prune_group(*g, full ? &*full : nullptr, layer));
      if (full_) full_->go_on(*full);
    }
    if (full_) {
      (void)full_->next_group();
      ++full_layer_;
    }
    write_block(layer);
  }

  // A block of the original that has gone.
  void skip_block(int64_t layer) {
    full_->begin(layer);
    while (const std::optional<Group> g = full_->next_group()) full_->go_on(*g);
  }

  std::vector<Replacement> prune_group(const Group& g, const Group* full, int64_t layer) {
    const int64_t in = g.sites[0].in;
    const Axis& axis = wide_.axis(g.sites[0].in_axis);
    const AxisCut* cut = job_.shape.cut_of(axis.name);
    std::vector<std::vector<float>> weights;
    for (const Site& site : g.sites) weights.push_back(read_matrix(source_, site));
    std::optional<InputStatistics> statistics;
    // Up to the first cut both models are the same.
    const bool shift = full && (!result_.cuts.empty() || job_.kept.layer(layer) != layer);
    if (cut || shift)
      statistics = group_statistics(g, {.validation_tokens = job_.validation_tokens, .full = shift ? full : nullptr});
    if (shift) {
      const Factor factor = factorize(statistics->fitted, kCorrectionDamping);
      for (std::vector<float>& w : weights)
        shift_towards_full_precision(w, statistics->asymmetric->fitted, factor, statistics->asymmetric->validation,
                                     *statistics->validation);
      statistics->asymmetric.reset();
    }
    std::vector<int64_t> kept;
    double damping = 0;
    if (cut) {
      kept = choose_columns(g, *cut, axis, *statistics, weights, layer);
      if (job_.correct) damping = damping_of(g, *statistics, weights, kept);
      statistics->pool();
      result_.cuts.back().damping = damping;
    }
    std::vector<Replacement> replacements;
    for (size_t i = 0; i < g.sites.size(); ++i) {
      const Site& site = g.sites[i];
      std::vector<float>& w = weights[i];
      BlockMatrix& m = matrices_[site.name];
      if (cut) {
        m = {damping > 0 ? refitted_columns(statistics->fitted, w, site.out, kept, damping)
                         : columns_of(w, site.out, in, kept),
             static_cast<int64_t>(kept.size())};
        std::vector<float> whole = spread(m.w, site.out, in, kept);
        result_.cuts.back().error =
            std::max(result_.cuts.back().error, relative_error(statistics->fitted, w, whole, site.out));
        w = std::move(whole);
      } else {
        m = {w, in};
      }
      replacements.push_back({fast_linear(std::move(w), site.out, in), {g.biases[i].begin(), g.biases[i].end()}});
    }
    return replacements;
  }

  // Notes what goes, and returns the columns that stay.
  std::vector<int64_t> choose_columns(const Group& g, const AxisCut& cut, const Axis& axis, const InputStatistics& s,
                                      const std::vector<std::vector<float>>& weights, int64_t layer) {
    std::vector<float> all;  // of all sites that read these inputs
    for (const std::vector<float>& w : weights) all.insert(all.end(), w.begin(), w.end());
    const Elimination e = eliminate_columns(
        s.fitted, all, static_cast<int64_t>(all.size()) / g.sites[0].in,
        {.group = cut.group, .keep = cut.keep, .family = cut.family, .correct = job_.correct, .damping = job_.damping});
    CutAxis out{.axis = cut.axis, .layer = job_.kept.layer(layer)};
    for (int64_t group = 0; group < cut.groups; ++group) {
      if (std::binary_search(e.kept.begin(), e.kept.end(), group)) continue;
      out.removed.push_back(group);
      out.importance.push_back(e.importance[static_cast<size_t>(group)]);
    }
    result_.cuts.push_back(std::move(out));
    // The groups of the cut as those of the axis.
    const int64_t each = cut.group / (axis.groups > 1 ? axis.group_size() : 1);
    std::vector<int64_t>& groups = result_.kept.axes[cut.axis].emplace_back();
    for (const int64_t group : e.kept)
      for (int64_t i = 0; i < each; ++i) groups.push_back(group * each + i);
    if (!cut.with.empty()) result_.kept.axes[cut.with].push_back(e.kept);
    return kept_elements(axis, result_.kept, layer);
  }

  // With few tokens least squares follow them too closely: what is best for tokens that it does not know. 0: columns as
  // they are.
  double damping_of(const Group& g, const InputStatistics& s, const std::vector<std::vector<float>>& weights,
                    const std::vector<int64_t>& kept) const {
    const int64_t in = g.sites[0].in;
    std::vector<double> outputs;
    for (size_t i = 0; i < weights.size(); ++i)
      outputs.push_back(std::max(squared_outputs(*s.validation, weights[i], g.sites[i].out), 1e-30));
    double best = 0, least = 0;
    for (const double damping : {0.0, job_.damping, 10 * job_.damping, 100 * job_.damping}) {
      double error = 0;
      for (size_t i = 0; i < weights.size(); ++i) {
        const int64_t rows = g.sites[i].out;
        const std::vector<float> w = damping > 0 ? refitted_columns(s.fitted, weights[i], rows, kept, damping)
                                                 : columns_of(weights[i], rows, in, kept);
        error += squared_error(*s.validation, weights[i], spread(w, rows, in, kept), rows) / outputs[i];
      }
      if (damping > 0 && error >= least) continue;
      best = damping;
      least = error;
    }
    return best;
  }

  void write_block(int64_t layer) {
    const auto sites = wide_.block_sites(layer), smaller = small_.block_sites(layer);
    for (size_t i = 0; i < sites.size(); ++i) {
      const std::vector<int64_t> rows = kept_elements(job_.architecture.axis(sites[i].out_axis), result_.kept, layer);
      write_matrix(out_, *planned_.at(smaller[i].name), picked_rows(matrices_.at(sites[i].name), rows));
    }
  }

  const StructureJob& job_;
  const PackJob& out_;
  const Architecture wide_, small_;  // with the layers that stay; with everything cut
  const SlicedWeights source_;
  const std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward stream_;
  std::optional<FullPrecisionRun> full_;
  int64_t full_layer_ = 0;
  const PlannedMatrices planned_;
  std::map<std::string, BlockMatrix> matrices_;
  PrunedStructure result_;
};

}  // namespace

PrunedStructure prune_structure(const StructureJob& job, const PackJob& out) { return StructurePass(job, out).run(); }

}  // namespace kerf
