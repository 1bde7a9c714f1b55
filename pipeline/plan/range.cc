#include "pipeline/plan/range.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "model/run/weights.h"

namespace kerf {
namespace {

constexpr float kLargestE4M3 = 448;

float largest_of(std::span<const float> values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::abs(v));
  return most;
}

// Of 16-bit floats magnitude grows with the bits, without their sign.
float largest_of(const ParamArray& p) {
  uint16_t most = 0;
  for (size_t i = 0; i + 2 <= p.bytes.size(); i += 2) {
    uint16_t bits;
    std::memcpy(&bits, p.bytes.data() + i, 2);
    most = std::max<uint16_t>(most, bits & 0x7fff);
  }
  return p.stored == Dtype::f16 ? f16_to_f32(most) : bf16_to_f32(most);
}

[[noreturn]] void refuse(std::string_view name, float value, std::string_view what) {
  fail(ErrorKind::numerical, "{} holds {}, {}; choose a scheme or target that stores such numbers", name, value, what);
}

void check_panel(const PlannedMatrix& m, std::span<const float> w) {
  if (!m.storage.layout) {
    check_range(m.storage.dense, w, m.site.name);
    return;
  }
  // No grid's scale is larger than the largest weight it serves, and blocks of many rows have scales of other types.
  const Scheme& scheme = m.storage.scheme;
  const float fits = scheme.levels[0].stored == Dtype::f8_e4m3 ? kLargestE4M3 : kLargestF16;
  if (largest_of(w) <= fits || rows_together(scheme) != 1) return;
  QuantizedMatrix q = allocate(scheme, static_cast<int64_t>(w.size()) / m.site.in, m.site.in);
  try {
    find_grid(scheme.grid).fit_and_encode(w, {}, q);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", m.site.name, e.what()));
  }
  check_range(m, q);
}

}  // namespace

void check_range(Dtype type, std::span<const float> values, std::string_view name) {
  if (type != Dtype::f16 && type != Dtype::bf16) return;
  const float most = largest_of(values);
  if (std::isinf(round_to(type, most)))
    refuse(name, most, type == Dtype::f16 ? "which does not fit F16 (at most 65504)" : "which does not fit BF16");
}

void check_range(const PlannedMatrix& m, const QuantizedMatrix& q) {
  for (const ParamArray& p : q.params) {
    if (p.stored != Dtype::f16 && p.stored != Dtype::bf16) continue;
    const float most = largest_of(p);
    if (std::isfinite(most)) continue;
    fail(ErrorKind::numerical,
         "{} holds weights for which {} needs a scale beyond the largest number of {}; choose a scheme or target that "
         "stores such numbers",
         m.site.name, describe(q.scheme), name_of(p.stored));
  }
  if (m.storage.decoded != Dtype::f16 || q.params.empty() || q.params[0].stored != Dtype::f16) return;
  // Codes reach 2^bits at most.
  if (std::ldexp(largest_of(q.params[0]), q.scheme.bits) <= kLargestF16) return;
  std::vector<float> w(static_cast<size_t>(q.rows * q.cols));
  find_grid(q.scheme.grid).decode(q, w);
  if (const float most = largest_of(w); std::isinf(round_to(Dtype::f16, most)))
    refuse(m.site.name, most, "and its runtime decodes weights to F16 (at most 65504)");
}

void check_ranges(const TensorSource& source, std::span<const PackJob> jobs) {
  constexpr int64_t kAtOnce = 1 << 17;
  std::map<std::string, std::vector<const PlannedMatrix*>> uses;
  for (const PackJob& job : jobs)
    for (const PlannedMatrix& m : job.plan->matrices) uses[m.site.name].push_back(&m);
  for (const auto& [name, plans] : uses) {
    const TensorInfo& info = *source.find(name);
    const int64_t rows = std::max<int64_t>(1, kAtOnce / std::max<int64_t>(1, info.cols()));
    parallel_for(ceil_div(info.rows(), rows), [&, &name = name, &plans = plans](int64_t i) {
      const int64_t begin = i * rows;
      std::vector<float> w(static_cast<size_t>(std::min(rows, info.rows() - begin) * info.cols()));
      source.read(info, begin, w);
      check_finite(w, name, begin, info.cols());
      for (const PlannedMatrix* m : plans) check_panel(*m, w);
    });
  }
}

}  // namespace kerf
