#include "pipeline/calibrate/pace.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "core/checked.h"
#include "core/parallel.h"
#include "pipeline/calibrate/calibrated_head.h"
#include "pipeline/calibrate/finished_block.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/group_statistics.h"
#include "pipeline/calibrate/output_hessians.h"
#include "pipeline/calibrate/site_group.h"

namespace kerf {
namespace {

using Group = BlockwiseForward::Group;

constexpr int64_t kTokens = 2048;
constexpr int64_t kWidest = 2048;  // inputs
// Of each matrix, for each thread: whole panels of the solver.
constexpr int64_t kRows = 128;

template <class F>
double seconds_of(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Enough to hold some out.
Windows few_windows(const Windows& all) {
  return first_windows(all, std::min(all.count, std::max(ceil_div(kTokens, all.length), kHeldOutPart)));
}

// The first rows and columns.
std::vector<float> corner(std::span<const float> m, int64_t stride, int64_t rows, int64_t cols) {
  std::vector<float> part(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(m.data() + r * stride, cols, part.data() + static_cast<size_t>(r * cols));
  return part;
}

Hessian narrowed(const Hessian& h, int64_t n) {
  Hessian part(n);
  part.tokens = h.tokens;
  part.values = corner(h.values, h.n, n, n);
  return part;
}

// Takes as long as any other.
Hessian identity(int64_t n) {
  Hessian h(n);
  for (int64_t i = 0; i < n; ++i) h.values[static_cast<size_t>(i * n + i)] = 1;
  return h;
}

// `rows` of the states, which are as many as a matrix has.
AsymmetricMoments narrowed(const AsymmetricMoments& s, int64_t n, int64_t rows) {
  AsymmetricMoments part(n, std::min(s.m, rows));
  part.inputs = corner(s.inputs, s.n, n, n);
  part.states = corner(s.states, s.n, part.m, n);
  return part;
}

InputStatistics narrowed(const InputStatistics& s, int64_t n, int64_t rows) {
  InputStatistics part{.fitted = narrowed(s.fitted, n), .tokens = s.tokens};
  if (s.validation) part.validation = narrowed(*s.validation, n);
  if (s.asymmetric)
    part.asymmetric = {narrowed(s.asymmetric->fitted, n, rows), narrowed(s.asymmetric->validation, n, rows)};
  if (s.sample) {
    part.sample = ActivationSample{.x = corner(s.sample->x, s.sample->cols, s.sample->rows, n),
                                   .rows = s.sample->rows,
                                   .cols = n,
                                   .group = s.sample->group > 0 && n % s.sample->group == 0 ? s.sample->group : 0,
                                   .tokens_per_row = s.sample->tokens_per_row};
  }
  return part;
}

// The sites of a group as one target stores them.
struct Part {
  std::vector<Site> sites;
  std::vector<const Scheme*> schemes;
  std::vector<const Method*> methods;
  std::vector<const Sparsity*> sparsities;  // nullptr: no zeros
  std::optional<Folding> folding;
};

// Inputs that are kept of `in`: whole groups of scales and, of the patterns of zeros, whole patterns.
int64_t cut_of(int64_t in, const Part& part) {
  if (in <= kWidest) return in;
  int64_t whole = 256;
  for (const Sparsity* s : part.sparsities)
    if (s && s->of > 0) whole = std::lcm(whole, s->of);
  return std::min(in, std::max<int64_t>(1, kWidest / whole) * whole);
}

class Pace {
 public:
  explicit Pace(const CalibrationJob& job) : job_(job), windows_(few_windows(job.windows)) {}

  CalibrationTime measure() {
    first_block(false);  // once for the code of products that the library makes, and for memory
    const CalibrationTime block = first_block(true);
    const double tokens = static_cast<double>(job_.windows.tokens()) / static_cast<double>(windows_.tokens());
    const double passes = static_cast<double>(job_.targets.size()) + (job_.asymmetric ? 1 : 0);
    const double blocks = blocks_like_first();
    double gradients = 0;
    if (job_.kl_hessian)
      gradients = seconds_of([&] {
        Scratch scratch;
        OutputHessians(job_.architecture, job_.source, windows_, 0, scratch);
      });
    return {.gradients = gradients * tokens,
            .passes = block.passes * tokens * passes * blocks,
            .statistics = block.statistics * tokens * blocks,
            .choosing = block.choosing * blocks + head_};
  }

 private:
  CalibrationTime first_block(bool with_choosing) {
    CalibrationTime block;
    Scratch scratch;
    FullPrecisionRun run(job_.architecture, job_.source, windows_, scratch);
    block.passes += seconds_of([&] { run.begin(0); });
    for (;;) {
      std::optional<Group> g;
      block.passes += seconds_of([&] { g = run.next_group(); });
      if (!g) return block;
      for (const PackJob& target : job_.targets) group_of(*g, *target.plan, with_choosing, block);
      block.passes += seconds_of([&] { run.go_on(*g); });
    }
  }

  void group_of(const Group& g, const TargetPlan& plan, bool with_choosing, CalibrationTime& block) {
    const PlannedMatrices planned = by_name(plan);
    StatisticsNeeds needs = needs_of(g, planned);
    needs.validation_tokens = job_.validation_tokens(windows_);
    if (job_.asymmetric) needs.full = &g;
    Part part;
    for (const Site& site : g.sites) {
      const PlannedMatrix& m = *planned.at(site.name);
      part.sites.push_back(site);
      part.schemes.push_back(m.storage.layout ? &m.storage.scheme : nullptr);
      part.methods.push_back(method_of(m));
      part.sparsities.push_back(m.sparsity ? &*m.sparsity : nullptr);
    }
    std::optional<InputStatistics> statistics;
    block.statistics += seconds_of([&] { statistics = group_statistics(g, needs); });
    if (!with_choosing) return;
    if (const auto fold = fold_before(job_.architecture, g.sites[0]); fold && fold->norm_bias.empty())
      part.folding = Folding{.fold = *fold};
    if (part.folding && !part.folding->fold.norm.empty())
      part.folding->norm.assign(static_cast<size_t>(g.sites[0].in), 1.0f);
    block.choosing += choosing(part, *statistics);
    const Site head = job_.architecture.head();
    const PlannedMatrix& m = *planned.at(head.name);
    if (!is_calibrated_head(job_.architecture, m) || head.in != g.sites[0].in || g.states || heads_.contains(&plan))
      return;
    heads_.insert(&plan);
    statistics->asymmetric.reset();
    head_ += choosing({{head}, {&m.storage.scheme}, {method_of(m)}, {nullptr}, std::nullopt}, *statistics);
  }

  // Of whole matrices.
  double choosing(const Part& part, const InputStatistics& all) const {
    const int64_t rows = kRows * threads();
    int64_t whole = 0, some = 0, twice = 0, in = part.sites[0].in;
    for (const Site& s : part.sites) {
      whole += s.out;
      some += std::min(s.out, rows);
      twice += std::min(s.out, 2 * rows);
    }
    const int64_t cut = cut_of(in, part);
    choosing_rows(part, narrowed(all, cut, rows), rows);  // as the first block
    const double of_some = choosing_rows(part, narrowed(all, cut, rows), rows);
    const double wider = static_cast<double>(in) / static_cast<double>(cut);
    if (twice == some) return of_some * wider * wider;
    const double of_twice = choosing_rows(part, narrowed(all, cut, 2 * rows), 2 * rows);
    const double row = std::max(of_twice - of_some, 0.0) / static_cast<double>(twice - some);
    const double fixed = std::max(of_some - row * static_cast<double>(some), 0.0);
    return fixed * wider * wider * wider + row * static_cast<double>(whole) * wider * wider;
  }

  double choosing_rows(const Part& part, InputStatistics statistics, int64_t rows) const {
    const int64_t cols = statistics.fitted.n;
    std::vector<Site> cut = part.sites;
    std::vector<GroupSite> sites;
    for (size_t i = 0; i < cut.size(); ++i) {
      const Site& whole = part.sites[i];
      const int64_t out = std::min(whole.out, rows);
      std::vector<float> w(static_cast<size_t>(out * whole.in));
      job_.source.read(*job_.source.find(whole.name), 0, w);
      cut[i].out = out;
      cut[i].in = cols;
      sites.push_back({.site = &cut[i],
                       .scheme = part.schemes[i],
                       .method = part.methods[i],
                       .w = corner(w, whole.in, out, cols),
                       .sparsity = part.sparsities[i],
                       .pruning = &job_.pruning});
    }
    std::optional<Folding> folding = part.folding;
    if (folding) {
      folding->fold.source.resize(static_cast<size_t>(cols));
      if (!folding->norm.empty()) folding->norm.resize(static_cast<size_t>(cols));
    }
    std::vector<std::unique_ptr<RowFeedback>> between_rows;
    return seconds_of([&] {
      for (GroupSite& s : sites)
        if (job_.kl_hessian && s.changes())
          s.outputs = between_rows.emplace_back(std::make_unique<RowFeedback>(identity(s.site->out), 0)).get();
      settle_weights(sites, statistics, job_.method);
      choose_group(sites, statistics, job_.options, folding);
    });
  }

  const Method* method_of(const PlannedMatrix& m) {
    if (m.method.empty()) return &job_.method;
    return &methods_.emplace(m.method, parse_method(m.method, true)).first->second;
  }

  double blocks_like_first() const {
    std::vector<double> weights(static_cast<size_t>(job_.architecture.layers()));
    for (size_t layer = 0; layer < weights.size(); ++layer)
      for (const Site& s : job_.architecture.block_sites(static_cast<int64_t>(layer)))
        weights[layer] += static_cast<double>(s.out) * static_cast<double>(s.in);
    double sum = 0;
    for (const double w : weights) sum += w / weights[0];
    return sum;
  }

  const CalibrationJob& job_;
  const Windows windows_;
  std::map<std::string, Method> methods_;
  std::set<const TargetPlan*> heads_;
  double head_ = 0;
};

}  // namespace

CalibrationTime measure_calibration(const CalibrationJob& job) { return Pace(job).measure(); }

}  // namespace kerf
