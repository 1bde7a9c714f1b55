#include "pipeline/plan/range.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <list>
#include <map>
#include <vector>

#include "core/checked.h"
#include "core/converter.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "model/run/weights.h"

namespace kerf {
namespace {

constexpr float kLargestE4M3 = 448;

// A matrix whose largest scale is below this has too few steps of the scales' type left: F16 counts in steps of 2^-24
// there, E4M3 in steps of 2^-9. Two levels make up for a rounding of the coarser one, and Q6_K has a 4096th of the
// largest weight in it. The embedded model's up_proj, divided by 2^12, keeps the KL of Q8_0 within a quarter, by 2^14
// it is seven times as much, by 2^16 the matrix is lost.
float small_scale(const Scheme& s) {
  if (s.levels[0].stored == Dtype::f8_e4m3) return 0x1p-8f;
  if (s.levels[0].stored != Dtype::f16) return 0;
  const bool one_level = std::all_of(s.levels.begin() + 1, s.levels.end(), [](const Level& l) { return l.offset; });
  return one_level ? 0x1p-20f : 0x1p-22f;
}
constexpr float kSmallestNormalF16 = 0x1p-14f;
// Largest weights from here on get no scale so small.
constexpr float kOrdinary = 0x1p-5f;

// Of floats magnitude grows with the bits, without their sign.
float largest_of(const ParamArray& p) {
  uint16_t most = 0;
  if (bits_of(p.stored) == 8) {
    for (const std::byte b : p.bytes) most = std::max<uint16_t>(most, std::to_integer<uint8_t>(b) & 0x7f);
    return f8_e4m3_to_f32(static_cast<uint8_t>(most));
  }
  for (size_t i = 0; i + 2 <= p.bytes.size(); i += 2) {
    uint16_t bits;
    std::memcpy(&bits, p.bytes.data() + i, 2);
    most = std::max<uint16_t>(most, bits & 0x7fff);
  }
  return p.stored == Dtype::f16 ? f16_to_f32(most) : bf16_to_f32(most);
}

// What a code may multiply its scale with, at most.
float largest_code(const Scheme& s) { return s.grid == "fp8" ? kLargestE4M3 : std::ldexp(1.0f, s.bits); }

bool may_be_bf16(const TargetPlan& plan) {
  const auto types = plan.choice.target->model_dtypes();
  return plan.dtype == Dtype::f16 && std::find(types.begin(), types.end(), Dtype::bf16) != types.end();
}

// In which type a number of a matrix ends, of those that have a smaller range than F32.
Dtype ends_in(const Storage& s) { return s.layout ? s.decoded : s.dense; }

// What to do about numbers that F16 does not hold.
std::string way_out(const TargetPlan& plan, bool bf16) {
  if (bf16) return "give --dtype bfloat16";
  if (plan.choice.target->model_dtypes().empty()) return "choose a type that holds such numbers (BF16, F32)";
  return "choose a target that holds such numbers (vllm with --dtype bfloat16)";
}
std::string way_out(const TargetPlan& plan, const PlannedMatrix& m) {
  const auto with_bf16 = [&] {
    const SiteShape shape{
        .role = m.site.role, .name = m.site.name, .place = m.site.place, .out = m.site.out, .in = m.site.in};
    return plan.choice.target->storage(m.scheme, shape, Dtype::bf16);
  };
  return way_out(plan, may_be_bf16(plan) && ends_in(with_bf16()) != Dtype::f16);
}
std::string way_out(const TargetPlan& plan, const PlannedVector&) {
  return way_out(plan, may_be_bf16(plan) && plan.choice.target->vector_dtype(Dtype::bf16) != Dtype::f16);
}

// `planned` is the matrix or vector, for what could be done.
template <class Planned>
void check_fits(const TargetPlan& plan, const Planned& planned, std::string_view name, Dtype type, float most,
                bool decoded) {
  if ((type != Dtype::f16 && type != Dtype::bf16) || !std::isinf(round_to(type, most))) return;
  if (type == Dtype::bf16)
    fail(ErrorKind::numerical,
         "{} holds {}, which does not fit BF16; choose a scheme or target that stores such numbers", name, most);
  fail(ErrorKind::numerical, "{} holds {}, {} (at most 65504); {}", name, most,
       decoded ? "and its runtime decodes weights to F16" : "which does not fit F16", way_out(plan, planned));
}

// No grid's scale is larger than the largest weight it serves, and a panel of rows that share parameters with others
// has none of its own: their largest is that of the matrix.
void check_panel(const TargetPlan& plan, const PlannedMatrix& m, std::span<const float> w, Magnitudes& magnitudes) {
  const float most = largest_magnitude(w);
  check_range(plan, m, most);
  magnitudes.add(most);
  if (!m.storage.layout) return;
  const Scheme& scheme = m.storage.scheme;
  const float fits = scheme.levels[0].stored == Dtype::f8_e4m3 ? kLargestE4M3 : kLargestF16;
  if (most >= kOrdinary) magnitudes.settle();
  if (most <= fits && magnitudes.settled()) return;
  QuantizedMatrix q = allocate(scheme, static_cast<int64_t>(w.size()) / m.site.in, m.site.in);
  try {
    find_grid(scheme.grid).fit_and_encode(w, {}, q);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", m.site.name, e.what()));
  }
  check_range(plan, m, q);
  magnitudes.add(q);
}

void raise(std::atomic<float>& most, float x) {
  for (float seen = most; seen < x && !most.compare_exchange_weak(seen, x);) continue;
}

}  // namespace

float largest_magnitude(std::span<const float> values) {
  return converter().largest_magnitude(values.data(), std::ssize(values));
}

void check_range(const TargetPlan& plan, const PlannedVector& v, std::span<const float> values) {
  check_fits(plan, v, v.name, v.dtype, largest_magnitude(values), false);
}

void check_range(const TargetPlan& plan, const PlannedMatrix& m, float largest) {
  check_fits(plan, m, m.site.name, ends_in(m.storage), largest, m.storage.layout != nullptr);
}

void check_range(const TargetPlan& plan, const PlannedMatrix& m, const QuantizedMatrix& q) {
  for (const ParamArray& p : q.params) {
    if ((p.stored != Dtype::f16 && p.stored != Dtype::bf16) || std::isfinite(largest_of(p))) continue;
    fail(ErrorKind::numerical, "{} holds weights for which {} needs a scale beyond the largest number of {}; {}",
         m.site.name, describe(q.scheme), name_of(p.stored), way_out(plan, m));
  }
  if (m.storage.decoded != Dtype::f16 || q.params.empty() || q.params[0].stored != Dtype::f16) return;
  if (largest_of(q.params[0]) * largest_code(q.scheme) <= kLargestF16) return;
  std::vector<float> w(static_cast<size_t>(q.rows * q.cols));
  find_grid(q.scheme.grid).decode(q, w);
  check_range(plan, m, largest_magnitude(w));
}

void Magnitudes::add(float largest) { raise(weight_, largest); }

void Magnitudes::add(const QuantizedMatrix& q) {
  const float small = small_scale(q.scheme);
  if (settled()) return;
  const float most = small > 0 ? largest_of(q.params[0]) : 1;
  raise(scale_, most < small ? most : 1);
}

std::string Magnitudes::remark(const TargetPlan& plan, const PlannedMatrix& m) const {
  if (weight_ == 0) return "";
  const Storage& s = m.storage;
  if (s.layout) {
    if (settled()) return "";
    const std::string scales = fmt::format("{}: the largest weight is {:.2g}, and its scale in {}", m.site.name,
                                           weight_.load(), name_of(s.scheme.levels[0].stored));
    if (scale_ == 0) return fmt::format("{} is 0, and so are all weights; {}", scales, way_out(plan, m));
    return fmt::format("{} has few bits left: smaller weights are rounded coarsely, or to 0; {}", scales,
                       way_out(plan, m));
  }
  if (s.dense != Dtype::f16 || weight_ >= kSmallestNormalF16) return "";
  return fmt::format("{}: the largest weight is {:.2g}, which F16 rounds coarsely, and smaller ones to 0; {}",
                     m.site.name, weight_.load(), way_out(plan, m));
}

void say(const PackJob& job, const std::string& remark) {
  if (remark.empty()) return;
  if (job.remarks) {
    if (std::find(job.remarks->begin(), job.remarks->end(), remark) != job.remarks->end()) return;
    job.remarks->push_back(remark);
  }
  warn(fmt::format("{}: {}", job.plan->choice.text(), remark));
}

void check_ranges(const TensorSource& source, std::span<const PackJob> jobs) {
  constexpr int64_t kAtOnce = 1 << 17;
  struct Use {
    Use(const PackJob* j, const PlannedMatrix* m) : job(j), matrix(m) {}
    const PackJob* job;
    const PlannedMatrix* matrix;
    Magnitudes magnitudes;  // which cannot be moved
  };
  std::map<std::string, std::list<Use>> uses;
  for (const PackJob& job : jobs)
    for (const PlannedMatrix& m : job.plan->matrices) uses[m.site.name].emplace_back(&job, &m);
  for (auto& [name, of_tensor] : uses) {
    const TensorInfo& info = *source.find(name);
    const int64_t rows = std::max<int64_t>(1, kAtOnce / std::max<int64_t>(1, info.cols()));
    parallel_for(ceil_div(info.rows(), rows), [&, &name = name, &of_tensor = of_tensor](int64_t i) {
      const int64_t begin = i * rows;
      std::vector<float> w(static_cast<size_t>(std::min(rows, info.rows() - begin) * info.cols()));
      source.read(info, begin, w);
      check_finite(w, name, begin, info.cols());
      for (Use& use : of_tensor) check_panel(*use.job->plan, *use.matrix, w, use.magnitudes);
    });
    for (const Use& use : of_tensor) say(*use.job, use.magnitudes.remark(*use.job->plan, *use.matrix));
  }
}

}  // namespace kerf
