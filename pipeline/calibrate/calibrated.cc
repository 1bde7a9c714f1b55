#include "pipeline/calibrate/calibrated.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/log.h"
#include "grids/grid.h"
#include "model/run/blockwise_forward.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/calibrated_head.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_inputs.h"
#include "pipeline/calibrate/site_group.h"
#include "quant/awq.h"
#include "solver/error_feedback.h"

namespace kerf {
namespace {

// An error this many times the median of the same role in earlier blocks is said to be out of line; from so many blocks
// on.
constexpr double kOutOfLine = 10;
constexpr size_t kBlocksToCompare = 3;

// The parameters of a row that divide with it: scales, and offsets that are not multiples of a scale. Finer levels are
// multiples of these.
bool is_float(Dtype t) { return t == Dtype::f16 || t == Dtype::bf16 || t == Dtype::f32; }

// Divides rows by powers of two.
void divide_rows(ReadyMatrix& p, std::span<const float> by) {
  const auto rows = static_cast<int64_t>(by.size());
  if (!p.packed) {
    const auto cols = static_cast<int64_t>(p.values.size()) / rows;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) p.values[static_cast<size_t>(r * cols + c)] /= by[static_cast<size_t>(r)];
    return;
  }
  for (ParamArray& param : p.packed->params) {
    if (!is_float(param.stored)) continue;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t b = 0; b < param.cols; ++b) param.set(r, b, param.get(r, b) / by[static_cast<size_t>(r)]);
  }
}

// Whether divide_rows() leaves every code's value exact for any power of two up to 8 either way.
bool divisible(const ReadyMatrix& p) {
  if (!p.packed) return true;
  const QuantizedMatrix& q = *p.packed;
  if (rows_together(q.scheme) != 1) return false;
  if (!is_float(q.params[0].stored)) return false;
  for (const ParamArray& param : q.params)
    for (int64_t i = 0; is_float(param.stored) && i < param.rows * param.cols; ++i) {
      const float s = param.get(i / param.cols, i % param.cols);
      if (round_to(param.stored, s / 8) != s / 8 || round_to(param.stored, s * 8) != s * 8) return false;
    }
  return true;
}

// Matrices with one scale, as one: their rows one after the other.
struct Fused {
  std::unique_ptr<Site> site;
  GroupSite whole;
};

Fused fuse(std::span<const GroupSite> sites) {
  Fused f{std::make_unique<Site>(*sites[0].site), sites[0]};
  f.whole.site = f.site.get();
  for (const GroupSite& s : sites.subspan(1)) {
    if (s.method->name != sites[0].method->name || *s.scheme != *sites[0].scheme)
      fail(ErrorKind::usage,
           "{} and {} have one scale in this scheme, so they cannot be treated by {} and {}; give both the same method",
           sites[0].site->name, s.site->name, sites[0].method->name, s.method->name);
    f.site->out += s.site->out;
    f.whole.w.insert(f.whole.w.end(), s.w.begin(), s.w.end());
  }
  return f;
}

// Each site's part. Errors are those of all together.
std::vector<ChosenSite> split(const ChosenSite& whole, std::span<const GroupSite> sites) {
  std::vector<ChosenSite> parts;
  int64_t row = 0;
  for (const GroupSite& s : sites) {
    const int64_t end = row + s.site->out;
    ChosenSite part{.quantizer = whole.quantizer,
                    .matrix = rows_of(whole.matrix, row, end),
                    .error = whole.error,
                    .error_rtn = whole.error_rtn};
    part.values.assign(whole.values.begin() + row * s.site->in, whole.values.begin() + end * s.site->in);
    parts.push_back(std::move(part));
    row = end;
  }
  return parts;
}

std::string percent(double x) { return fmt::format("{:.3g} %", 100 * x); }

// The model in full precision, beside the targets.
class FullPrecision {
 public:
  FullPrecision(const Architecture& a, const TensorSource& source, const Windows& windows, Scratch& scratch)
      : source_(source),
        weights_(dense_weights(a, source)),
        stream_(a, *weights_, fast_arithmetic(), windows, &scratch) {}

  void restore(int64_t layer, std::span<const float> hidden) { stream_.restore(layer, hidden); }
  void begin(int64_t layer) { stream_.begin_groups(layer); }
  std::optional<BlockwiseForward::Group> next_group() { return stream_.next_group(); }
  void go_on(const BlockwiseForward::Group& g) { stream_.replace(passthrough(g, source_)); }
  std::span<const float> hidden() const { return stream_.hidden(); }

 private:
  const TensorSource& source_;
  const std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward stream_;
};

// One target on its way through the blocks.
class Run {
 public:
  Run(const Architecture& a, const TensorSource& source, const Method& method, const QuantizerOptions& options,
      bool held_out, const Windows& windows, const PackJob& job, ResumeState* state, Scratch& scratch)
      : arch_(a),
        source_(source),
        method_(method),
        options_(options),
        job_(job),
        state_(state),
        held_out_tokens_(held_out ? held_out_windows(windows.count) * windows.length : 0),
        weights_(dense_weights(a, source)),
        stream_(a, *weights_, fast_arithmetic(), windows, &scratch) {
    for (const PlannedMatrix& m : job.plan->matrices) {
      planned_.emplace(m.site.name, &m);
      if (!m.method.empty()) methods_.emplace(m.method, parse_method(m.method, true));
    }
  }

  // Writes what an earlier run has finished; returns the first layer that is left.
  int64_t resume() {
    if (!state_ || !state_->last()) return 0;
    const int64_t layer = *state_->last();
    stream_.restore(layer, state_->load_hidden());  // first: its checksum vouches for the layer
    for (int64_t done = 0; done <= layer; ++done) write(state_->load_block(done, planned_));
    note(fmt::format("{}: going on after block {}", job_.plan->choice.text(), layer));
    return layer + 1;
  }

  void begin(int64_t layer) { stream_.begin_groups(layer); }
  // Quantizes the next group of sites; `full` is the same group in full precision, or nullptr.
  void step(const BlockwiseForward::Group* full) { stream_.replace(group(*next_, full)); }
  bool has_next_group() {
    next_ = stream_.next_group();
    return next_.has_value();
  }
  void end(int64_t layer, const FullPrecision* full) {
    std::vector<SiteOutcome> outcomes = std::exchange(of_block_, {});
    const size_t before = outcomes_.size();
    FinishedBlock finished{std::exchange(pending_, {}), replaced_, std::move(outcomes)};
    write(finished);
    if (state_)
      state_->save(layer, finished, stream_.hidden(), full ? full->hidden() : std::span<const float>(), arch_.hidden);
    say(fmt::format("block {}", layer), finished.outcomes);
    for (const SiteOutcome& o : finished.outcomes) compare_with_earlier(o, before);
  }
  void finish() {
    const PlannedMatrix& head = *planned_.at(arch_.head().name);
    if (is_calibrated_head(arch_, head)) {
      stream_.finish();
      outcomes_.push_back(write_head(stream_.head_group(), method_.held_out ? held_out_tokens_ : 0, arch_, source_,
                                     job_, head, method_of(head.site), options_));
      say("head", {&outcomes_.back(), 1});
    }
    write_vectors(source_, job_, replaced_);
  }
  std::vector<SiteOutcome> outcomes() && { return std::move(outcomes_); }

 private:
  void write(const FinishedBlock& b) {
    for (const auto& [name, m] : b.matrices) {
      if (m.packed)
        write_matrix(job_, *m.planned, *m.packed);
      else
        write_matrix(job_, *m.planned, m.values);
    }
    replaced_ = b.replaced;
    outcomes_.insert(outcomes_.end(), b.outcomes.begin(), b.outcomes.end());
  }

  std::vector<BlockwiseForward::Replacement> group(const BlockwiseForward::Group& g,
                                                   const BlockwiseForward::Group* full) {
    const int64_t fitted = g.tokens - held_out_tokens_;
    Statistics statistics{second_moments(g, 0, fitted)};
    std::optional<Hessian> held_out;
    if (held_out_tokens_ > 0) held_out = second_moments(g, fitted, held_out_tokens_);
    std::vector<GroupSite> sites;
    std::optional<ActivationSample> rounded;
    for (const Site& site : g.sites) {
      const Storage& storage = planned_.at(site.name)->storage;
      if (storage.activations && !rounded) rounded = sample(g, fitted, storage.activations->group);
      sites.push_back(
          {&site, storage.layout ? &storage.scheme : nullptr, &method_of(site), read_matrix(source_, site)});
    }
    if (full) correct_group(sites, g, *full, statistics.hessian, *held_out);
    if (held_out && !method_.held_out) {
      statistics.hessian = sum_of(statistics.hessian, *held_out);
      held_out.reset();
    }
    const std::optional<Folding> folding = folding_of(g.sites[0]);
    std::vector<Fused> fused;
    if (shares_scale(g)) fused.push_back(fuse(sites));
    const std::span<const GroupSite> chosen_sites =
        fused.empty() ? std::span<const GroupSite>(sites) : std::span(&fused[0].whole, 1);
    ChosenGroup chosen = choose_group(chosen_sites, statistics, held_out ? *held_out : statistics.hessian, options_,
                                      folding, rounded ? &*rounded : nullptr);
    if (!fused.empty()) chosen.sites = split(chosen.sites[0], sites);
    if (chosen.damping > options_.damping * 1.001)
      warn(fmt::format("{}: the damping had to be raised to {:.3g} of the Hessian's mean before it could be factorized",
                       g.sites[0].name, chosen.damping));
    if (!chosen.scales.empty()) fold(*folding, chosen.scales);
    std::vector<BlockwiseForward::Replacement> replacements;
    for (size_t i = 0; i < sites.size(); ++i) replacements.push_back(take(g, i, sites[i], chosen, statistics));
    return replacements;
  }

  bool shares_scale(const BlockwiseForward::Group& g) const {
    return g.sites.size() > 1 && std::all_of(g.sites.begin(), g.sites.end(), [&](const Site& site) {
             return !site.fused.empty() && site.fused == g.sites[0].fused &&
                    planned_.at(site.name)->storage.fused_scale;
           });
  }

  void correct_group(std::vector<GroupSite>& sites, const BlockwiseForward::Group& g,
                     const BlockwiseForward::Group& full, const Hessian& fitted, const Hessian& held_out) const {
    const Factor factor = factorize(fitted, kCorrectionDamping);
    const AsymmetricMoments s = shortfall(g, full, 0, fitted.tokens),
                            held = shortfall(g, full, fitted.tokens, held_out.tokens);
    for (GroupSite& site : sites)
      if (site.scheme) site.asymmetric_strength = shift_towards_full_precision(site.w, s, factor, held, held_out);
  }

  // Queues the matrix to be written, notes what was done, and returns what the stream goes on with.
  BlockwiseForward::Replacement take(const BlockwiseForward::Group& g, size_t i, GroupSite& site, ChosenGroup& chosen,
                                     const Statistics& statistics) {
    const Site& s = *site.site;
    ReadyMatrix pending{.planned = planned_.at(s.name), .packed = std::nullopt};
    std::vector<float> bias(g.biases[i].begin(), g.biases[i].end());
    if (!site.scheme) {
      pending.values = chosen.scales.empty() ? site.w : scale_columns(site.w, chosen.scales);
      pending_.emplace(s.name, std::move(pending));
      return {fast_linear(std::move(site.w), s.out, s.in), std::move(bias)};
    }
    ChosenSite& c = chosen.sites[i];
    if (!bias.empty()) {
      correct_bias(bias, site.w, c.values, g);
      replaced_[s.bias] = bias;
    }
    const bool fed_back = c.quantizer->needs_hessian();
    of_block_.push_back({.name = s.name,
                         .method = fmt::format("{}{}", c.quantizer->name(),
                                               chosen.alpha == 0 ? ""
                                               : chosen.smooth   ? "+smooth"
                                                                 : "+awq"),
                         .error_rtn = c.error_rtn,
                         .error = c.error,
                         .alpha = chosen.alpha,
                         .damping = fed_back ? chosen.damping : 0,
                         .asymmetric_strength = site.asymmetric_strength,
                         .dead = statistics.hessian.dead_channels()});
    pending.packed = std::move(c.matrix);
    pending_.emplace(s.name, std::move(pending));
    return {fast_linear(std::move(c.values), s.out, s.in), std::move(bias)};
  }

  // bias += mean over tokens of (W - Q) x.
  static void correct_bias(std::vector<float>& bias, const std::vector<float>& w, const std::vector<float>& values,
                           const BlockwiseForward::Group& g) {
    const auto in = static_cast<size_t>(g.sites[0].in);
    std::vector<double> mean(in);
    in_pieces(g, 0, g.tokens, [&](int64_t begin, int64_t tokens) {
      for (int64_t t = begin; t < begin + tokens; ++t)
        for (size_t c = 0; c < in; ++c) mean[c] += static_cast<double>(g.x[static_cast<size_t>(t) * in + c]);
    });
    for (size_t r = 0; r < bias.size(); ++r) {
      double sum = 0;
      for (size_t c = 0; c < in; ++c)
        sum += (static_cast<double>(w[r * in + c]) - static_cast<double>(values[r * in + c])) * mean[c];
      bias[r] += static_cast<float>(sum / static_cast<double>(g.tokens));
    }
  }

  const Method& method_of(const Site& site) const {
    const std::string& own = planned_.at(site.name)->method;
    return own.empty() ? method_ : methods_.at(own);
  }

  std::optional<Folding> folding_of(const Site& site) const {
    const std::optional<Fold> fold = fold_before(arch_, site);
    if (!fold) return std::nullopt;
    Folding f{.fold = *fold};
    if (!fold->norm.empty()) {
      f.norm = weights_->vector(fold->norm);
      f.norm_dtype = job_.plan->choice.target->vector_dtype(arch_.dtype);
      return f;
    }
    // The rows of what was already quantized in this block.
    const auto producer = pending_.find(fold->site);
    if (producer == pending_.end() || !divisible(producer->second)) return std::nullopt;
    return f;
  }

  void fold(const Folding& f, std::span<const float> scales) {
    if (!f.norm.empty()) {
      replaced_[f.fold.norm] = folded_norm(f, scales);
      return;
    }
    std::vector<float> by(static_cast<size_t>(f.fold.channels), 1.0f);
    for (size_t c = 0; c < scales.size(); ++c) by[static_cast<size_t>(f.fold.source[c])] = scales[c];
    divide_rows(pending_.at(f.fold.site), by);
    if (f.fold.bias.empty()) return;
    auto at = replaced_.find(f.fold.bias);
    if (at == replaced_.end()) at = replaced_.emplace(f.fold.bias, weights_->vector(f.fold.bias)).first;
    for (size_t r = 0; r < by.size(); ++r) at->second[r] /= by[r];
  }

  const std::string& role_of(const SiteOutcome& o) const { return planned_.at(o.name)->site.role; }

  // With the same matrix of the blocks before, whose outcomes are the first `before`.
  void compare_with_earlier(const SiteOutcome& o, size_t before) const {
    std::vector<double> earlier;
    for (size_t i = 0; i < before; ++i)
      if (role_of(outcomes_[i]) == role_of(o)) earlier.push_back(outcomes_[i].error);
    if (earlier.size() < kBlocksToCompare) return;
    std::sort(earlier.begin(), earlier.end());
    const double median = earlier[earlier.size() / 2];
    if (o.error > kOutOfLine * median)
      warn(fmt::format("{}: the relative error {} is out of line; the same matrix of earlier blocks has {}", o.name,
                       percent(o.error), percent(median)));
  }

  void say(const std::string& where, std::span<const SiteOutcome> outcomes) const {
    std::string line = fmt::format("{} {}:", job_.plan->choice.text(), where);
    double damping = 0;
    for (const SiteOutcome& o : outcomes) {
      line += fmt::format(" {} {} → {} ({});", role_of(o), percent(o.error_rtn), percent(o.error), o.method);
      damping = std::max(damping, o.damping);
    }
    note(fmt::format("{} damping {:.3g}", line, damping));
  }

  const Architecture& arch_;
  const TensorSource& source_;
  const Method& method_;
  const QuantizerOptions& options_;
  const PackJob& job_;
  ResumeState* const state_;
  const int64_t held_out_tokens_;
  const std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward stream_;
  std::map<std::string, const PlannedMatrix*> planned_;
  std::map<std::string, Method> methods_;  // of matrices that the recipe treats otherwise
  // Matrices wait for their block to be complete, because scales of a later site may be folded into their rows.
  std::map<std::string, ReadyMatrix> pending_;
  Replaced replaced_;
  std::vector<SiteOutcome> outcomes_, of_block_;  // of all finished blocks, and of the present one
  std::optional<BlockwiseForward::Group> next_;
};

// One block of all these runs, group by group side by side.
void run_block(int64_t layer, std::span<Run* const> runs, FullPrecision* full) {
  if (full) full->begin(layer);
  for (Run* run : runs) run->begin(layer);
  for (;;) {
    const std::optional<BlockwiseForward::Group> group = full ? full->next_group() : std::nullopt;
    bool more = false;
    for (Run* run : runs) more = run->has_next_group();
    if (!more) break;
    for (Run* run : runs) run->step(full ? &*group : nullptr);
    if (full) full->go_on(*group);
  }
  for (Run* run : runs) run->end(layer, full);
}

void warn_of_few_tokens(const Architecture& a, int64_t tokens) {
  std::set<int64_t> widths;
  for (const Site& s : a.block_sites(0))
    if (tokens < s.in && widths.insert(s.in).second)
      warn(
          fmt::format("{} calibration tokens are fewer than the {} input channels of {} and its like: their statistics "
                      "lack rank and rest on the damping; give more windows",
                      tokens, s.in, s.name));
}

}  // namespace

std::vector<std::vector<SiteOutcome>> pack_calibrated(const Architecture& a, const TensorSource& source,
                                                      const Method& method, const QuantizerOptions& options,
                                                      bool asymmetric, const Windows& windows,
                                                      std::span<const PackJob> jobs,
                                                      std::span<ResumeState* const> states, Scratch& scratch) {
  warn_of_few_tokens(a, windows.tokens());
  pack_matrices(a, source, find_quantizer("rtn"), jobs, 0, {},
                [&](const PlannedMatrix& m) { return is_calibrated_head(a, m); });
  std::vector<std::unique_ptr<Run>> runs;
  for (size_t i = 0; i < jobs.size(); ++i)
    runs.push_back(std::make_unique<Run>(a, source, method, options, method.held_out || asymmetric, windows, jobs[i],
                                         states[i], scratch));
  std::vector<int64_t> first;
  for (const auto& run : runs) first.push_back(run->resume());
  std::optional<FullPrecision> full;
  if (asymmetric) {
    full.emplace(a, source, windows, scratch);
    const auto least = static_cast<size_t>(std::min_element(first.begin(), first.end()) - first.begin());
    if (first[least] > 0) full->restore(first[least] - 1, states[least]->load_full());
  }
  Progress progress("calibrating block", a.layers);
  for (int64_t layer = 0; layer < a.layers; ++layer) {
    std::vector<Run*> active;
    for (size_t i = 0; i < runs.size(); ++i)
      if (layer >= first[i]) active.push_back(runs[i].get());
    if (full && !active.empty())
      run_block(layer, active, &*full);
    else
      for (Run* run : active) run_block(layer, {&run, 1}, nullptr);
    progress.advance();
  }
  std::vector<std::vector<SiteOutcome>> outcomes;
  for (const auto& run : runs) {
    run->finish();
    outcomes.push_back(std::move(*run).outcomes());
  }
  return outcomes;
}

}  // namespace kerf
