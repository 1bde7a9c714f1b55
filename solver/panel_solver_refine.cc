// Refining passes over one column group: parameters are fitted to the codes and codes to the parameters, in turns, and
// what lowers the loss is kept.
#include <algorithm>
#include <cmath>

#include "solver/panel_solver.h"

namespace kerf {
namespace {

// Parameters of a group that are fitted to its codes, and codes to them, in one refining pass.
constexpr int kRefits = 2;

}  // namespace

void PanelSolver::refining_pass(const ColumnGroup& u) {
  // Only what is better by more than rounding noise counts.
  for (int64_t r = 0; r < kRowsPerPanel; ++r) best_[r] = u.best[r] * 0.99999f;
  std::fill_n(changed_, kRowsPerPanel, false);
  const Params base = present(u.columns[0]);
  best_params_ = base;
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t k = 0; k < u.size; ++k)
      best_codes_[static_cast<size_t>(k * kRowsPerPanel + r)] =
          q_.code_row(first_ + r)[static_cast<size_t>(u.columns[k])];
  attempt(u, base);
  bool polished = polish(u);
  for (int i = 0; plan_.fits_parameters && i < kRefits; ++i) {
    // The present parameters were attempted already. When codes stay as they are, too, so would everything after this.
    const Params p = refitted(u);
    const bool attempted = p != best_params_ && attempt(u, p);
    if (!attempted && !polished) break;
    polished = polish(u);
  }
  keep(u);
}

// Those under which the present codes lose least. With q = s v + o, v the codes' values and d = q - target, the loss
// of a step (a, b) is (d + a v + b 1) H (d + a v + b 1)T, H with its damping; a scheme without offsets has b = 0.
PanelSolver::Params PanelSolver::refitted(const ColumnGroup& u) {
  const Feedback& kernel = feedback();
  float *v = aligned(work_.data()), *hv = aligned(slope_.data());
  const Params& base = best_params_;
  float offset[kRowsPerPanel], inverse[kRowsPerPanel];
  for (int64_t r = 0; r < kRowsPerPanel; ++r) {
    offset[r] = added_offset(base, r);
    inverse[r] = base.scale[r] != 0 ? 1.0f / base.scale[r] : 0.0f;
  }
  for (int64_t k = 0; k < u.size; ++k)
    for (int64_t r = 0; r < kRowsPerPanel; ++r) {
      const int64_t i = k * kRowsPerPanel + r;
      v[i] = (u.q[i] - offset[r]) * inverse[r];
      hv[i] = -u.damping * v[i];
    }
  kernel.subtract(hv, u.size, v, u.size, u.h, u.h_stride);  // -H v
  float vhv[kRowsPerPanel] = {}, dhv[kRowsPerPanel] = {}, ohv[kRowsPerPanel] = {}, dho[kRowsPerPanel] = {};
  float oho = 0;
  for (int64_t k = 0; k < u.size; ++k) {
    float ho = u.damping;  // (H 1)_k
    for (int64_t m = 0; m < u.size; ++m) ho += u.h[k * u.h_stride + m];
    oho += ho;
    for (int64_t r = 0; r < kRowsPerPanel; ++r) {
      const int64_t i = k * kRowsPerPanel + r;
      const float d = u.q[i] - u.target[i];
      vhv[r] -= hv[i] * v[i];
      dhv[r] -= hv[i] * d;
      ohv[r] -= hv[i];
      dho[r] += ho * d;
    }
  }
  Params p = base;
  for (int64_t r = 0; r < rows_; ++r) {
    const float det = has_offset_ ? vhv[r] * oho - ohv[r] * ohv[r] : vhv[r];
    if (!(det > 1e-6f * vhv[r] * (has_offset_ ? oho : 1.0f))) continue;
    const float a = has_offset_ ? (ohv[r] * dho[r] - oho * dhv[r]) / det : -dhv[r] / det;
    const float b = has_offset_ ? (ohv[r] * dhv[r] - vhv[r] * dho[r]) / det : 0.0f;
    const float scale = base.scale[r] + a;
    const float wanted = adds_ ? offset[r] + b : has_offset_ ? -(offset[r] + b) / scale : base.offset[r];
    if (!(scale != 0.0f) || !std::isfinite(wanted)) continue;
    const ScaleOffset e = grid_.project(q_, first_ + r, u.columns[0], {scale, wanted});
    p.scale[r] = e.scale;
    p.offset[r] = e.offset;
  }
  return p;
}

float PanelSolver::added_offset(const Params& p, int64_t r) const {
  if (!has_offset_) return 0;
  return adds_ ? p.offset[r] : -p.scale[r] * p.offset[r];
}

// Coordinate descent: with d = target - q, moving q_k by (H d)_k / H_kk is best, and the nearest code to that is
// taken. Only where codes are chosen one by one. Whether any has changed.
bool PanelSolver::polish(const ColumnGroup& u) {
  if (q_.scheme.codeword != 1) return false;
  const Feedback& kernel = feedback();
  float *d = aligned(work_.data()), *slope = aligned(slope_.data());
  for (int64_t i = 0; i < u.size * kRowsPerPanel; ++i) d[i] = u.q[i] - u.target[i];
  for (int64_t i = 0; i < u.size * kRowsPerPanel; ++i) slope[i] = -u.damping * d[i];
  kernel.subtract(slope, u.size, d, u.size, u.h, u.h_stride);
  Params of_column;
  bool polished = false;
  for (int64_t k = 0; k < u.size; ++k) {
    const Params& own = per_column_ ? (of_column = present(u.columns[k])) : best_params_;
    const float inverse = 1.0f / (u.h[k * u.h_stride + k] + u.damping);
    const auto at = static_cast<size_t>(k * kRowsPerPanel);
    float wanted[kRowsPerPanel];
    for (int64_t r = 0; r < kRowsPerPanel; ++r)
      wanted[r] = u.q[k * kRowsPerPanel + r] + slope[k * kRowsPerPanel + r] * inverse;
    grid_.round(q_.scheme, own.scale, own.offset, wanted, kRowsPerPanel, codes_.data() + at, values_.data() + at);
    apply_mask(u, k, own);
    const uint8_t* codes = codes_.data() + at;
    uint8_t* best = best_codes_.data() + at;
    const float* values = values_.data() + at;
    float* q = u.q + k * kRowsPerPanel;
    alignas(64) float step[kRowsPerPanel];
    int32_t moved = 0;
    for (int64_t r = 0; r < kRowsPerPanel; ++r) {
      const float other = values[r] - q[r];
      step[r] = codes[r] == best[r] ? 0.0f : other;
      moved |= step[r] != 0.0f;
      q[r] += step[r];
    }
    polished = polished || !std::equal(codes, codes + kRowsPerPanel, best);
    std::copy_n(codes, kRowsPerPanel, best);
    if (!moved) continue;  // nine columns of ten
    for (int64_t r = 0; r < kRowsPerPanel; ++r) changed_[r] = changed_[r] || step[r] != 0.0f;
    // Slopes up to column k are not read again.
    kernel.subtract(slope + (k + 1) * kRowsPerPanel, u.size - k - 1, step, 1, u.h + k * u.h_stride + k + 1, u.h_stride);
  }
  return polished;
}

}  // namespace kerf
