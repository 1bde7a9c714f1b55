// A group's statistics are summed up, its weights moved where that is asked for, its codes chosen, and the pass goes
// on through what was chosen; matrices wait for the end of their block.
#include "pipeline/calibrate/calibrated_target.h"

#include <algorithm>

#include "core/log.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/calibrated_head.h"
#include "pipeline/calibrate/fused_sites.h"
#include "pipeline/calibrate/group_statistics.h"
#include "pipeline/calibrate/outcome_notes.h"
#include "quant/awq.h"

namespace kerf {
namespace {

using Group = BlockwiseForward::Group;
using Replacement = BlockwiseForward::Replacement;

// bias += mean over tokens of (W - Q) x.
void correct_bias(std::vector<float>& bias, const std::vector<float>& w, const std::vector<float>& values,
                  const InputStatistics& s) {
  const size_t in = s.sums.size();
  for (size_t r = 0; r < bias.size(); ++r) {
    double sum = 0;
    for (size_t c = 0; c < in; ++c)
      sum += (static_cast<double>(w[r * in + c]) - static_cast<double>(values[r * in + c])) * s.sums[c];
    bias[r] += static_cast<float>(sum / static_cast<double>(s.tokens));
  }
}

std::string method_text(const GroupSite& s, const ChosenSite& c, const ChosenGroup& group) {
  std::string text = s.sparsity ? s.pruning->name() : "";
  if (c.quantizer)
    text += fmt::format("{}{}{}", text.empty() ? "" : "+", c.quantizer->name(),
                        group.alpha == 0 ? ""
                        : group.smooth   ? "+smooth"
                                         : "+awq");
  return s.sparsity ? fmt::format("{} {}", text, text_of(*s.sparsity)) : text;
}

}  // namespace

CalibratedTarget::CalibratedTarget(const CalibrationJob& job, const PackJob& target, ResumeState* state)
    : job_(job),
      target_(target),
      state_(state),
      weights_(dense_weights(job.architecture, job.source)),
      stream_(job.architecture, *weights_, fast_arithmetic(), job.windows, &job.scratch),
      planned_(by_name(*target.plan)) {
  for (const PlannedMatrix& m : target.plan->matrices)
    if (!m.method.empty()) methods_.emplace(m.method, parse_method(m.method, true));
}

int64_t CalibratedTarget::resume() {
  if (!state_ || !state_->last()) return 0;
  const int64_t layer = *state_->last();
  stream_.restore(layer, state_->load_hidden());  // first: its checksum vouches for the layer
  for (int64_t done = 0; done <= layer; ++done) {
    const FinishedBlock block = state_->load_block(done, planned_);
    block.write(target_);
    block_.replaced = block.replaced;
    outcomes_.insert(outcomes_.end(), block.outcomes.begin(), block.outcomes.end());
  }
  note(fmt::format("{}: going on after block {}", target_.plan->choice.text(), layer));
  return layer + 1;
}

bool CalibratedTarget::has_next_group() {
  next_ = stream_.next_group();
  return next_.has_value();
}

void CalibratedTarget::quantize_group(const Group* full, const OutputHessians* outputs) {
  const Group& g = *next_;
  InputStatistics statistics = statistics_of(g, full, outputs);
  std::vector<GroupSite> sites = sites_of(g);
  settle_weights(sites, statistics, job_.method);
  const std::optional<Folding> folding = block_.folding_of(job_.architecture, g.sites[0], *weights_, *target_.plan);
  ChosenGroup chosen = choose(g, sites, statistics, folding, outputs);
  warn_of_damping(g.sites[0], job_.options.damping, chosen.damping);
  if (!chosen.scales.empty()) block_.fold(*folding, chosen.scales, *weights_);
  std::vector<Replacement> replacements;
  for (size_t i = 0; i < sites.size(); ++i)
    replacements.push_back(sites[i].changes() ? take(g, i, sites[i], chosen, statistics)
                                              : keep_as_it_is(g, i, sites[i], chosen));
  stream_.replace(std::move(replacements));
}

void CalibratedTarget::end(int64_t layer, const FullPrecisionRun* full) {
  block_.write(target_);
  if (state_)
    state_->save(layer, block_, stream_.hidden(), full ? full->hidden() : std::span<const float>(),
                 job_.architecture.hidden());
  note_outcomes(target_.plan->choice.text(), fmt::format("block {}", layer), block_.outcomes, planned_);
  warn_of_outliers(block_.outcomes, outcomes_, planned_);
  outcomes_.insert(outcomes_.end(), block_.outcomes.begin(), block_.outcomes.end());
  block_.clear();
}

void CalibratedTarget::finish() {
  const PlannedMatrix& head = *planned_.at(job_.architecture.head().name);
  if (is_calibrated_head(job_.architecture, head)) {
    stream_.finish();
    outcomes_.push_back(write_head(stream_.head_group(), job_.method.held_out ? job_.validation_tokens() : 0,
                                   job_.architecture, job_.source, target_, head, method_of(head.site), job_.options));
    note_outcomes(target_.plan->choice.text(), "head", {&outcomes_.back(), 1}, planned_);
  }
  write_vectors(job_.source, target_, block_.replaced);
}

std::vector<GroupSite> CalibratedTarget::sites_of(const Group& g) const {
  std::vector<GroupSite> sites;
  for (const Site& site : g.sites) {
    const PlannedMatrix& planned = *planned_.at(site.name);
    const Storage& storage = planned.storage;
    sites.push_back({.site = &site,
                     .scheme = storage.layout ? &storage.scheme : nullptr,
                     .method = &method_of(site),
                     .w = read_matrix(job_.source, site),
                     .sparsity = planned.sparsity ? &*planned.sparsity : nullptr,
                     .pruning = &job_.pruning,
                     .dense = storage.dense});
  }
  return sites;
}

InputStatistics CalibratedTarget::statistics_of(const Group& g, const Group* full,
                                                const OutputHessians* outputs) const {
  StatisticsNeeds needs = needs_of(g, planned_);
  needs.validation_tokens = job_.validation_tokens();
  needs.full = full;
  if (outputs) needs.token_weights = outputs->token_weights(g.sites);
  return group_statistics(g, needs);
}

bool CalibratedTarget::shares_scale(const Group& g) const {
  return g.sites.size() > 1 && std::all_of(g.sites.begin(), g.sites.end(), [&](const Site& site) {
           return !site.fused.empty() && site.fused == g.sites[0].fused && planned_.at(site.name)->storage.fused_scale;
         });
}

ChosenGroup CalibratedTarget::choose(const Group& g, std::vector<GroupSite>& sites, const InputStatistics& statistics,
                                     const std::optional<Folding>& folding, const OutputHessians* outputs) const {
  std::vector<std::unique_ptr<RowFeedback>> between_rows;
  const auto feedback = [&](const Hessian& h, const GroupSite& s) {
    const bool as_stored = s.scheme && !has_separate_rows(*s.scheme);
    return between_rows.emplace_back(std::make_unique<RowFeedback>(h, kOutputDamping, as_stored)).get();
  };
  if (!shares_scale(g)) {
    for (GroupSite& s : sites)
      if (outputs && s.changes()) s.outputs = feedback(outputs->of(*s.site), s);
    return choose_group(sites, statistics, job_.options, folding);
  }
  FusedSite fused = fuse(sites);
  std::vector<Hessian> of_sites;
  for (const GroupSite& s : sites)
    if (outputs) of_sites.push_back(outputs->of(*s.site));
  if (outputs) fused.whole.outputs = feedback(block_diagonal(of_sites), fused.whole);
  ChosenGroup chosen = choose_group({&fused.whole, 1}, statistics, job_.options, folding);
  chosen.sites = split(chosen.sites[0], sites);
  return chosen;
}

// A site that is stored as plain numbers takes the scales of its group all the same.
Replacement CalibratedTarget::keep_as_it_is(const Group& g, size_t i, GroupSite& site, const ChosenGroup& chosen) {
  const Site& s = *site.site;
  ReadyMatrix ready{.planned = planned_.at(s.name), .packed = std::nullopt};
  ready.values = chosen.scales.empty() ? site.w : scale_columns(site.w, chosen.scales);
  block_.matrices.emplace(s.name, std::move(ready));
  return {fast_linear(std::move(site.w), s.out, s.in), {g.biases[i].begin(), g.biases[i].end()}};
}

// Queues the matrix to be written, notes what was done, and returns what the pass goes on with.
Replacement CalibratedTarget::take(const Group& g, size_t i, const GroupSite& site, ChosenGroup& chosen,
                                   const InputStatistics& statistics) {
  const Site& s = *site.site;
  ChosenSite& c = chosen.sites[i];
  std::vector<float> bias(g.biases[i].begin(), g.biases[i].end());
  if (!bias.empty()) {
    correct_bias(bias, site.w, c.values, statistics);
    block_.replaced[s.bias] = bias;
  }
  block_.outcomes.push_back({.name = s.name,
                             .method = method_text(site, c, chosen),
                             .error_rtn = c.error_rtn,
                             .error = c.error,
                             .alpha = chosen.alpha,
                             .damping = c.quantizer && c.quantizer->needs_hessian() ? chosen.damping : 0,
                             .asymmetric_strength = site.asymmetric_strength,
                             .dead = statistics.fitted.dead_channels(),
                             .zeros = site.sparsity ? site.sparsity->share : 0});
  ReadyMatrix ready{.planned = planned_.at(s.name), .packed = std::nullopt};
  if (site.scheme)
    ready.packed = std::move(c.matrix);
  else
    ready.values = chosen.scales.empty() ? c.values : scale_columns(c.values, chosen.scales);
  block_.matrices.emplace(s.name, std::move(ready));
  return {fast_linear(std::move(c.values), s.out, s.in), std::move(bias)};
}

const Method& CalibratedTarget::method_of(const Site& site) const {
  const std::string& own = planned_.at(site.name)->method;
  return own.empty() ? job_.method : methods_.at(own);
}

}  // namespace kerf
