// The first pass of GPTQ over one column group: fit its parameters, then choose column by column while the rest of the
// group makes up for the errors so far. Groups whose loss is known are chosen again in panel_solver_refine.cc.
#include "solver/panel_solver.h"

#include <algorithm>
#include <limits>

namespace kerf {
namespace {

// Blocks up to this wide are fitted on the way; the parameters of wider ones are fitted on the original weights.
constexpr int64_t kWidestGroup = 128;
// Columns chosen together when parameters are fixed beforehand.
constexpr int64_t kFixedGroup = 32;
// Terms that reach the rest of a group together; a multiple of a word.
constexpr int64_t kTogether = 8;

}  // namespace

ColumnPlan column_plan(const Scheme& s, int64_t cols) {
  const int64_t block = group_columns(s, cols), fixed = s.levels.back().block.cols;
  ColumnPlan p;
  p.group = block > 0 && block <= kWidestGroup ? block : std::min(kFixedGroup, cols);
  p.fits_parameters = block == p.group;
  p.outer = p.fits_parameters ? superblock_columns(s, cols) : p.group;
  if (p.fits_parameters)
    p.parts = {p.outer, p.group, s.codeword};
  else
    p.parts = {fixed > 0 ? fixed : cols, s.codeword};
  return p;
}

PanelSolver::PanelSolver(QuantizedMatrix& q, int64_t first_row, int64_t rows)
    : q_(q),
      grid_(find_grid(q.scheme.grid)),
      first_(first_row),
      rows_(rows),
      plan_(column_plan(q.scheme, q.cols)),
      adds_(adds_offset(q.scheme)) {
  for (const Level& level : q.scheme.levels) {
    has_offset_ = has_offset_ || level.offset;
    per_column_ = per_column_ || (level.block.cols != 0 && level.block.cols % plan_.group != 0);
  }
  work_.resize(static_cast<size_t>(plan_.group * kRowsPerPanel + 16));  // to align
  slope_.resize(work_.size());
  values_.resize(static_cast<size_t>(plan_.group * kRowsPerPanel));
  f_.resize(values_.size());
  codes_.resize(values_.size());
  best_codes_.resize(values_.size());
}

void PanelSolver::first_pass(const ColumnGroup& u) {
  std::fill_n(best_, kRowsPerPanel, std::numeric_limits<float>::infinity());
  if (plan_.fits_parameters && u.begin % plan_.outer == 0) fit(u);
  attempt(u, present(u.columns[0]));
  keep(u);
}

PanelSolver::Params PanelSolver::present(int64_t col) const {
  Params p;
  for (int64_t r = 0; r < kRowsPerPanel; ++r) {
    const ScaleOffset e = r < rows_ ? grid_.effective(q_, first_ + r, col) : ScaleOffset{1, 0};
    p.scale[r] = e.scale;
    p.offset[r] = e.offset;
  }
  return p;
}

// As the grid itself would fit the targets, errors weighted as GPTQ counts them.
void PanelSolver::fit(const ColumnGroup& u) {
  QuantizedMatrix part = allocate(q_.scheme, rows_, plan_.outer);
  std::vector<float> w(static_cast<size_t>(rows_ * plan_.outer)), weight(static_cast<size_t>(plan_.outer));
  const int64_t first = u.columns[0] / plan_.outer * plan_.outer;
  for (int64_t k = 0; k < plan_.outer; ++k) {
    const float d = u.u[k * u.stride + k];
    const int64_t c = u.columns[k] - first;
    weight[static_cast<size_t>(c)] = 1.0f / (d * d);
    for (int64_t r = 0; r < rows_; ++r)
      w[static_cast<size_t>(r * plan_.outer + c)] = masked(r, u.columns[k]) ? 0.0f : u.target[k * kRowsPerPanel + r];
  }
  const float most = *std::max_element(weight.begin(), weight.end());
  for (float& x : weight) x /= most;
  grid_.fit(w, weight, part);
  set_parameters(q_, first_, first, part);
}

// Runs the group with these parameters and keeps the rows where the loss is the smallest so far. Whether there are any.
bool PanelSolver::attempt(const ColumnGroup& u, const Params& p) {
  const Feedback& kernel = feedback();
  float* t = aligned(work_.data());
  std::copy_n(u.target, u.size * kRowsPerPanel, t);
  float loss[kRowsPerPanel] = {};
  Params of_column;
  for (int64_t begin = 0; begin < u.size; begin += kTogether) {
    const int64_t end = std::min(u.size, begin + kTogether);
    for (int64_t k = begin; k < end; ++k) {
      const Params& own = per_column_ && k > 0 ? (of_column = present(u.columns[k])) : p;
      const auto at = static_cast<size_t>(k * kRowsPerPanel);
      float *x = t + k * kRowsPerPanel, *f = f_.data() + at;
      const float d = 1.0f / u.u[k * u.stride + k];
      if (k % q_.scheme.codeword == 0) choose_codes(u, k, own, x);
      apply_mask(u, k, own);
      for (int64_t r = 0; r < kRowsPerPanel; ++r) {
        f[r] = (x[r] - values_[at + static_cast<size_t>(r)]) * d;
        loss[r] += f[r] * f[r];
      }
      kernel.subtract(t + (k + 1) * kRowsPerPanel, end - k - 1, f, 1, u.u + k * u.stride + k + 1, u.stride);
    }
    kernel.subtract(t + end * kRowsPerPanel, u.size - end, f_.data() + begin * kRowsPerPanel, end - begin,
                    u.u + begin * u.stride + end, u.stride);
  }
  int32_t better[kRowsPerPanel];
  int any = 0;
  for (int64_t r = 0; r < kRowsPerPanel; ++r) {
    better[r] = loss[r] < best_[r] ? -1 : 0;
    any |= better[r];
    best_[r] = better[r] ? loss[r] : best_[r];
    best_params_.scale[r] = better[r] ? p.scale[r] : best_params_.scale[r];
    best_params_.offset[r] = better[r] ? p.offset[r] : best_params_.offset[r];
    changed_[r] = changed_[r] || better[r];
  }
  if (!any) return false;
  for (int64_t k = 0; k < u.size; ++k)
    for (int64_t r = 0; r < kRowsPerPanel; ++r) {
      const int64_t i = k * kRowsPerPanel + r;
      const auto at = static_cast<size_t>(i);
      u.q[i] = better[r] ? values_[at] : u.q[i];
      u.f[i] = better[r] ? f_[at] : u.f[i];
      best_codes_[at] = better[r] ? codes_[at] : best_codes_[at];
    }
  return true;
}

// Of column k, or of a word that begins there.
void PanelSolver::choose_codes(const ColumnGroup& u, int64_t k, const Params& p, const float* x) {
  const auto at = static_cast<size_t>(k * kRowsPerPanel);
  if (q_.scheme.codeword == 1) {
    grid_.round(q_.scheme, p.scale, p.offset, x, kRowsPerPanel, codes_.data() + at, values_.data() + at);
    return;
  }
  float importance[kTogether];
  for (int j = 0; j < q_.scheme.codeword; ++j) {
    const float d = u.u[(k + j) * u.stride + k + j];
    importance[j] = 1.0f / (d * d);
  }
  grid_.round_words(q_.scheme, p.scale, x, importance, kRowsPerPanel, codes_.data() + at, values_.data() + at);
}

// Masked weights of column k take the code of zero, whatever was nearest to their targets; their errors are fed back
// like all others.
void PanelSolver::apply_mask(const ColumnGroup& u, int64_t k, const Params& p) {
  if (!q_.mask) return;
  const auto at = static_cast<size_t>(k * kRowsPerPanel);
  for (int64_t r = 0; r < rows_; ++r) {
    if (!masked(r, u.columns[k])) continue;
    const size_t i = at + static_cast<size_t>(r);
    codes_[i] = static_cast<uint8_t>(zero_code(grid_, q_.scheme, p.offset[r]));
    values_[i] = 0.0f;
  }
}

void PanelSolver::keep(const ColumnGroup& u) {
  for (int64_t r = 0; r < rows_; ++r) {
    if (!changed_[r]) continue;
    if (plan_.fits_parameters) grid_.set(q_, first_ + r, u.columns[0], {best_params_.scale[r], best_params_.offset[r]});
    uint8_t* codes = q_.code_row(first_ + r).data();
    for (int64_t k = 0; k < u.size; ++k) codes[u.columns[k]] = best_codes_[static_cast<size_t>(k * kRowsPerPanel + r)];
  }
}

}  // namespace kerf
