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
        wide_(sliced(job.architecture, before_cuts())),
        small_(sliced(job.architecture, final_shape())),
        source_(job.architecture, job.source, before_cuts()),
        weights_(dense_weights(wide_, source_)),
        stream_(wide_, *weights_, fast_arithmetic(), job.windows, &job.scratch),
        planned_(by_name(*out.plan)) {
    if (job.correct) full_.emplace(job.architecture, job.source, job.windows, job.scratch);
    if (const auto* channels = job.kept.kept(stream_axis().name, -1)) narrowing_ = {*channels, stream_axis().size};
    result_.kept = job.kept;
  }

  PrunedStructure run() {
    if (out_.writer) warn_of_few_tokens(wide_, job_.windows.tokens(), job_.damping);
    Progress progress("pruning block", wide_.layers());
    for (int64_t layer = 0; layer < wide_.layers(); ++layer) {
      run_block(layer);
      progress.advance();
    }
    if (out_.writer && full_ && !narrowing_.kept.empty() && !wide_.tied) write_head();
    return std::move(result_);
  }

 private:
  // Channels of the residual stream: those that stay, and then, in `order`, those that have gone. Empty: all stay.
  struct Narrowing {
    Narrowing() = default;
    Narrowing(const std::vector<int64_t>& channels, int64_t of) : kept(channels), order(channels) {
      const std::vector<int64_t> gone = others_than(channels, of);
      order.insert(order.end(), gone.begin(), gone.end());
    }
    std::vector<int64_t> kept, order;
  };

  const Axis& stream_axis() const { return job_.architecture.axis(job_.architecture.before.front().axis); }
  bool is_narrowed(AxisId axis) const {
    return !narrowing_.kept.empty() && wide_.axis(axis).name == stream_axis().name;
  }
  Correspondence before_cuts() const {
    Correspondence c{.layers = job_.kept.layers};
    c.axes = job_.kept.axes;
    return c;
  }
  Correspondence final_shape() const {
    Correspondence c = first_of_everything(job_.architecture, job_.shape);
    c.layers = job_.kept.layers;
    c.tokens = job_.kept.tokens;
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
    const AxisCut* cut = is_narrowed(g.sites[0].in_axis) ? nullptr : job_.shape.cut_of(axis.name);
    std::vector<std::vector<float>> weights;
    for (const Site& site : g.sites) weights.push_back(read_matrix(source_, site));
    std::optional<InputStatistics> statistics;
    // Up to the first cut both models are the same.
    const bool shift = full && (!narrowing_.kept.empty() || !result_.cuts.empty() || job_.kept.layer(layer) != layer);
    if (shift)
      statistics = shift_weights(g, *full, weights);
    else if (cut)
      statistics = group_statistics(g, {.validation_tokens = job_.validation_tokens});
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

  // Towards the outputs of the original.
  InputStatistics shift_weights(const Group& g, const Group& full, std::vector<std::vector<float>>& weights) {
    const bool narrow = is_narrowed(g.sites[0].in_axis);
    InputStatistics s = group_statistics(
        g, {.validation_tokens = job_.validation_tokens,
            .full = &full,
            .full_inputs = narrow ? narrowing_.order : std::vector<int64_t>(),
            .full_states = is_narrowed(g.sites[0].out_axis) ? narrowing_.kept : std::vector<int64_t>()});
    const Factor factor = factorize(s.fitted, kCorrectionDamping);
    for (size_t i = 0; i < weights.size(); ++i) {
      std::vector<float> whole = weights[i];
      if (narrow) {
        const Site& site = full.sites[i];
        whole = columns_of(read_matrix(job_.source, site), site.out, site.in, narrowing_.order);
      }
      shift_towards_full_precision(weights[i], whole, s.asymmetric->fitted, factor, s.asymmetric->validation,
                                   *s.validation);
    }
    s.asymmetric.reset();
    return s;
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
    out.removed = others_than(e.kept, cut.groups);
    for (const int64_t group : out.removed) out.importance.push_back(e.importance[static_cast<size_t>(group)]);
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
    for (const double times : {0, 1, 10, 100}) {
      const double damping = std::min(times * job_.damping, 1.0);  // that of the diagonal itself
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
    if (!out_.writer) return;
    const auto sites = wide_.block_sites(layer), smaller = small_.block_sites(layer);
    for (size_t i = 0; i < sites.size(); ++i) {
      const Axis& out = job_.architecture.axis(sites[i].out_axis);
      const bool narrowed = is_narrowed(sites[i].out_axis);  // from the start
      write(smaller[i].name, picked_rows(matrices_.at(sites[i].name),
                                         narrowed ? std::vector<int64_t>() : kept_elements(out, result_.kept, layer)));
    }
  }

  // Of tokens those that stay.
  void write_head() {
    for (; full_layer_ < job_.architecture.layers(); ++full_layer_) skip_block(full_layer_);
    stream_.finish();
    const Group g = stream_.head_group();
    std::vector<std::vector<float>> weights = {read_matrix(source_, g.sites[0])};
    shift_weights(g, full_->head_group(), weights);
    const BlockMatrix head{std::move(weights[0]), g.sites[0].in};
    write(small_.head().name, picked_rows(head, {job_.kept.tokens.begin(), job_.kept.tokens.end()}));
  }

  void write(const std::string& name, std::span<const float> w) {
    write_matrix(out_, *planned_.at(name), w);
    result_.written.insert(name);
  }

  const StructureJob& job_;
  const PackJob& out_;
  const Architecture wide_, small_;  // with the layers and the stream that stay; with everything cut
  const SlicedWeights source_;
  Narrowing narrowing_;
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
