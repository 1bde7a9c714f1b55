// Dividing a row by a power of two is exact in the floating-point parameters that its codes multiply, so codes stay.
#include "pipeline/calibrate/finished_block.h"

namespace kerf {
namespace {

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

}  // namespace

PlannedMatrices by_name(const TargetPlan& plan) {
  PlannedMatrices planned;
  for (const PlannedMatrix& m : plan.matrices) planned.emplace(m.site.name, &m);
  return planned;
}

std::optional<Folding> FinishedBlock::folding_of(const Architecture& a, const Site& site, WeightProvider& weights,
                                                 const TargetPlan& plan) const {
  const std::optional<Fold> fold = fold_before(a, site);
  // A bias cannot take the same division exactly in its stored type.
  if (!fold || !fold->norm_bias.empty()) return std::nullopt;
  Folding f{.fold = *fold};
  if (!fold->norm.empty()) {
    f.norm = weights.vector(fold->norm);
    for (const PlannedVector& v : plan.vectors)
      if (v.name == fold->norm) {
        f.norm_dtype = v.dtype;
        f.norm_plus = v.plus;
      }
    return f;
  }
  // The rows of what was already quantized in this block.
  const auto producer = matrices.find(fold->site);
  if (producer == matrices.end() || !divisible(producer->second)) return std::nullopt;
  return f;
}

void FinishedBlock::fold(const Folding& f, std::span<const float> scales, WeightProvider& weights) {
  if (!f.norm.empty()) {
    replaced[f.fold.norm] = folded_norm(f, scales);
    return;
  }
  std::vector<float> by(static_cast<size_t>(f.fold.channels), 1.0f);
  for (size_t c = 0; c < scales.size(); ++c) by[static_cast<size_t>(f.fold.source[c])] = scales[c];
  divide_rows(matrices.at(f.fold.site), by);
  if (f.fold.bias.empty()) return;
  auto at = replaced.find(f.fold.bias);
  if (at == replaced.end()) at = replaced.emplace(f.fold.bias, weights.vector(f.fold.bias)).first;
  for (size_t r = 0; r < by.size(); ++r) at->second[r] /= by[r];
}

void FinishedBlock::write(const PackJob& job) const {
  for (const auto& [name, m] : matrices) {
    if (m.packed)
      write_matrix(job, *m.planned, *m.packed);
    else
      write_matrix(job, *m.planned, m.values);
  }
}

void FinishedBlock::clear() {
  matrices.clear();
  outcomes.clear();
}

}  // namespace kerf
