// GPTQ on any grid: columns are chosen in order and the rest makes up for their error (Frantar et al., 2022).
// Parameters of a block are fitted when the pass reaches it, on the weights as errors so far have moved them; what
// weighs most comes first. Further passes choose every block again, parameters and codes, while all others stay as they
// are.
#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "quant/quantizer.h"
#include "solver/error_feedback.h"

namespace kerf {
namespace {

// Blocks up to this wide are fitted on the way; the parameters of wider ones are fitted on the original weights.
constexpr int64_t kWidestUnit = 128;
// Columns chosen together when parameters are fixed beforehand.
constexpr int64_t kFixedUnit = 32;

// Terms that reach the rest of a unit together; a multiple of a word.
constexpr int64_t kTogether = 8;
// Parameters of a unit that are fitted to its codes, and codes to them, in one refining pass.
constexpr int kRefits = 2;

int64_t unit_of(const Scheme& s, int64_t cols) {
  const int64_t block = group_columns(s, cols);
  return block > 0 && block <= kWidestUnit ? block : std::min(kFixedUnit, cols);
}

// Columns whose parameters are fitted when the pass reaches them.
int64_t outer_of(const Scheme& s, int64_t cols) {
  return group_columns(s, cols) == unit_of(s, cols) ? superblock_columns(s, cols) : unit_of(s, cols);
}

// What the order of the first pass keeps together: columns whose parameters are fitted when the pass reaches them; else
// those that have the same ones; and words.
std::vector<int64_t> parts_of(const Scheme& s, int64_t cols) {
  const int64_t unit = unit_of(s, cols), fixed = s.levels.back().block.cols;
  if (group_columns(s, cols) == unit) return {outer_of(s, cols), unit, s.codeword};
  return {fixed > 0 ? fixed : cols, s.codeword};
}

// Parameters of one block in each row of a panel.
struct Params {
  float scale[kRowsPerPanel], offset[kRowsPerPanel];
};

// Chooses the units of one panel of rows of q.
class PanelChooser {
 public:
  PanelChooser(QuantizedMatrix& q, int64_t first_row, int64_t rows)
      : q_(q), grid_(find_grid(q.scheme.grid)), first_(first_row), rows_(rows) {
    const int64_t unit = unit_of(q.scheme, q.cols);
    free_ = group_columns(q.scheme, q.cols) == unit;
    outer_ = outer_of(q.scheme, q.cols);
    adds_ = adds_offset(q.scheme);
    for (const Level& level : q.scheme.levels) has_offset_ = has_offset_ || level.offset;
    for (const Level& level : q.scheme.levels)
      per_column_ = per_column_ || (level.block.cols != 0 && level.block.cols % unit != 0);
    work_.resize(static_cast<size_t>(unit * kRowsPerPanel + 16));  // to align
    slope_.resize(work_.size());
    values_.resize(static_cast<size_t>(unit * kRowsPerPanel));
    f_.resize(values_.size());
    codes_.resize(values_.size());
    best_codes_.resize(values_.size());
  }

  void first_pass(const ColumnGroup& u) {
    std::fill_n(best_, kRowsPerPanel, std::numeric_limits<float>::infinity());
    if (free_ && u.begin % outer_ == 0) fit(u);
    attempt(u, present(u.columns[0]));
    keep(u);
  }

  void refining_pass(const ColumnGroup& u) {
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
    polish(u);
    for (int i = 0; free_ && i < kRefits; ++i) {
      attempt(u, refitted(u));
      polish(u);
    }
    keep(u);
  }

 private:
  Params present(int64_t col) const {
    Params p;
    for (int64_t r = 0; r < kRowsPerPanel; ++r) {
      const ScaleOffset e = r < rows_ ? grid_.effective(q_, first_ + r, col) : ScaleOffset{1, 0};
      p.scale[r] = e.scale;
      p.offset[r] = e.offset;
    }
    return p;
  }

  // As the grid itself would fit the targets, errors weighted as GPTQ counts them.
  void fit(const ColumnGroup& u) {
    QuantizedMatrix part = allocate(q_.scheme, rows_, outer_);
    std::vector<float> w(static_cast<size_t>(rows_ * outer_)), weight(static_cast<size_t>(outer_));
    const int64_t first = u.columns[0] / outer_ * outer_;
    for (int64_t k = 0; k < outer_; ++k) {
      const float d = u.u[k * u.stride + k];
      const int64_t c = u.columns[k] - first;
      weight[static_cast<size_t>(c)] = 1.0f / (d * d);
      for (int64_t r = 0; r < rows_; ++r) w[static_cast<size_t>(r * outer_ + c)] = u.target[k * kRowsPerPanel + r];
    }
    const float most = *std::max_element(weight.begin(), weight.end());
    for (float& x : weight) x /= most;
    grid_.fit(w, weight, part);
    set_parameters(q_, first_, first, part);
  }

  // Those under which the present codes lose least. With q = s v + o, v the codes' values and d = q - target, the loss
  // of a step (a, b) is (d + a v + b 1) H (d + a v + b 1)T, H with its damping; a scheme without offsets has b = 0.
  Params refitted(const ColumnGroup& u) {
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

  float added_offset(const Params& p, int64_t r) const {
    if (!has_offset_) return 0;
    return adds_ ? p.offset[r] : -p.scale[r] * p.offset[r];
  }

  // Runs the unit with these parameters and keeps the rows where the loss is the smallest so far.
  void attempt(const ColumnGroup& u, const Params& p) {
    const Feedback& kernel = feedback();
    float* t = aligned(work_.data());
    std::copy_n(u.target, u.size * kRowsPerPanel, t);
    float loss[kRowsPerPanel] = {};
    for (int64_t begin = 0; begin < u.size; begin += kTogether) {
      const int64_t end = std::min(u.size, begin + kTogether);
      for (int64_t k = begin; k < end; ++k) {
        const Params own = per_column_ && k > 0 ? present(u.columns[k]) : p;
        const auto at = static_cast<size_t>(k * kRowsPerPanel);
        float *x = t + k * kRowsPerPanel, *f = f_.data() + at;
        const float d = 1.0f / u.u[k * u.stride + k];
        if (k % q_.scheme.codeword == 0) choose_codes(u, k, own, x);
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
    if (!any) return;
    for (int64_t k = 0; k < u.size; ++k)
      for (int64_t r = 0; r < kRowsPerPanel; ++r) {
        const int64_t i = k * kRowsPerPanel + r;
        const auto at = static_cast<size_t>(i);
        u.q[i] = better[r] ? values_[at] : u.q[i];
        u.f[i] = better[r] ? f_[at] : u.f[i];
        best_codes_[at] = better[r] ? codes_[at] : best_codes_[at];
      }
  }

  // Of column k, or of a word that begins there.
  void choose_codes(const ColumnGroup& u, int64_t k, const Params& p, const float* x) {
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

  // Coordinate descent: with d = target - q, moving q_k by (H d)_k / H_kk is best, and the nearest code to that is
  // taken. Only where codes are chosen one by one.
  void polish(const ColumnGroup& u) {
    if (q_.scheme.codeword != 1) return;
    const Feedback& kernel = feedback();
    float *d = aligned(work_.data()), *slope = aligned(slope_.data());
    for (int64_t i = 0; i < u.size * kRowsPerPanel; ++i) d[i] = u.q[i] - u.target[i];
    for (int64_t i = 0; i < u.size * kRowsPerPanel; ++i) slope[i] = -u.damping * d[i];
    kernel.subtract(slope, u.size, d, u.size, u.h, u.h_stride);
    for (int64_t k = 0; k < u.size; ++k) {
      const Params own = per_column_ ? present(u.columns[k]) : best_params_;
      const float inverse = 1.0f / (u.h[k * u.h_stride + k] + u.damping);
      const auto at = static_cast<size_t>(k * kRowsPerPanel);
      float wanted[kRowsPerPanel];
      for (int64_t r = 0; r < kRowsPerPanel; ++r)
        wanted[r] = u.q[k * kRowsPerPanel + r] + slope[k * kRowsPerPanel + r] * inverse;
      grid_.round(q_.scheme, own.scale, own.offset, wanted, kRowsPerPanel, codes_.data() + at, values_.data() + at);
      alignas(64) float step[kRowsPerPanel];
      for (int64_t r = 0; r < kRowsPerPanel; ++r) {
        const auto i = at + static_cast<size_t>(r);
        step[r] = codes_[i] == best_codes_[i] ? 0.0f : values_[i] - u.q[i];
        changed_[r] = changed_[r] || step[r] != 0.0f;
        best_codes_[i] = codes_[i];
        u.q[i] += step[r];
        slope[i] -= u.damping * step[r];
      }
      kernel.subtract(slope, u.size, step, 1, u.h + k * u.h_stride, u.h_stride);
    }
  }

  void keep(const ColumnGroup& u) {
    for (int64_t r = 0; r < rows_; ++r) {
      if (!changed_[r]) continue;
      if (free_) grid_.set(q_, first_ + r, u.columns[0], {best_params_.scale[r], best_params_.offset[r]});
      uint8_t* codes = q_.code_row(first_ + r).data();
      for (int64_t k = 0; k < u.size; ++k)
        codes[u.columns[k]] = best_codes_[static_cast<size_t>(k * kRowsPerPanel + r)];
    }
  }

  static float* aligned(float* p) { return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64); }

  QuantizedMatrix& q_;
  const Grid& grid_;
  const int64_t first_, rows_;
  int64_t outer_ = 0;
  bool free_ = false;  // parameters are chosen unit by unit, coarser ones for outer_ columns
  bool has_offset_ = false, adds_ = false;
  bool per_column_ = false;  // they differ between the columns of a unit
  std::vector<float> work_, slope_, values_, f_;
  std::vector<uint8_t> codes_, best_codes_;
  float best_[kRowsPerPanel] = {};
  bool changed_[kRowsPerPanel] = {};
  Params best_params_ = {};
};

class Gptq final : public Quantizer {
 public:
  std::string_view name() const override { return "gptq"; }
  std::string_view describe() const override {
    return "error feedback through the Hessian of the inputs, then passes of coordinate descent";
  }
  bool needs_hessian() const override { return true; }

  void prepare(Statistics& s, const Scheme& scheme, const QuantizerOptions& o) const override {
    const int64_t n = s.hessian.n, unit = unit_of(scheme, n), outer = outer_of(scheme, n);
    s.feedback = std::make_shared<ErrorFeedback>(s.hessian, o.damping, unit, outer, o.refine > 0,
                                                 falling_order(s.hessian, parts_of(scheme, n)));
  }

  QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Scheme& scheme,
                           const Statistics* s, const QuantizerOptions& o) const override {
    if (!s || !s->feedback) fail(ErrorKind::internal, "gptq was called without statistics");
    find_grid(scheme.grid).check(scheme);
    // Parameters that are not fitted on the way are those of rounding to nearest.
    QuantizedMatrix q = group_columns(scheme, cols) == s->feedback->unit()
                            ? allocate(scheme, rows, cols)
                            : find_quantizer("rtn").quantize(w, rows, cols, scheme, s, o);
    std::vector<float> e(w.size());
    parallel_for(ceil_div(rows, kRowsPerPanel), [&](int64_t panel) {
      const int64_t begin = panel * kRowsPerPanel, count = std::min(kRowsPerPanel, rows - begin);
      const auto part = w.subspan(static_cast<size_t>(begin * cols), static_cast<size_t>(count * cols));
      const auto error = std::span(e).subspan(static_cast<size_t>(begin * cols), static_cast<size_t>(count * cols));
      PanelChooser chooser(q, begin, count);
      s->feedback->choose(part, count, error, [&](const ColumnGroup& u) { chooser.first_pass(u); });
      for (int pass = 0; pass < o.refine; ++pass)
        s->feedback->refine(part, count, error, [&](const ColumnGroup& u) { chooser.refining_pass(u); });
    });
    return q;
  }
};

}  // namespace

const Quantizer& quantizer_gptq() {
  static const Gptq gptq;
  return gptq;
}

}  // namespace kerf
