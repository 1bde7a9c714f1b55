#include "pipeline/plan/stored_dtype.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "model/arch/family.h"
#include "pipeline/plan/range.h"

namespace kerf {
namespace {

bool holds(Dtype type, std::span<const float> values) {
  std::vector<float> rounded(values.begin(), values.end());
  round_to(type, rounded);
  return std::equal(values.begin(), values.end(), rounded.begin());
}

// visit(values) for panels of these tensors, on all threads.
void for_each_panel(const TensorSource& source, std::span<const std::string> names,
                    const std::function<void(std::span<const float>)>& visit) {
  constexpr int64_t kAtOnce = 1 << 18;
  struct Panel {
    const TensorInfo* tensor;
    int64_t begin, rows;
  };
  std::vector<Panel> panels;
  for (const std::string& name : names) {
    const TensorInfo* t = source.find(name);
    const int64_t step = std::max<int64_t>(1, kAtOnce / t->cols());
    for (int64_t begin = 0; begin < t->rows(); begin += step)
      panels.push_back({t, begin, std::min(step, t->rows() - begin)});
  }
  parallel_for(static_cast<int64_t>(panels.size()), [&](int64_t i) {
    const Panel& p = panels[static_cast<size_t>(i)];
    std::vector<float> values(static_cast<size_t>(p.rows * p.tensor->cols()));
    source.read(*p.tensor, p.begin, values);
    visit(values);
  });
}

PlainNumbers numbers_of(std::span<const float> values) {
  return {.bf16 = holds(Dtype::bf16, values), .f16 = holds(Dtype::f16, values), .largest = largest_magnitude(values)};
}

std::vector<std::string> plain_tensors(const Architecture& a) {
  std::vector<std::string> names = {a.embedding().name};
  if (!a.tied) names.push_back(a.head().name);
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& t : a.expected_tensors(layer))
      if (t.shape.size() == 1) names.push_back(t.name);
  return names;
}

}  // namespace

PlainNumbers plain_numbers(const Architecture& a, const TensorSource& source) {
  PlainNumbers all;
  std::mutex mutex;
  for_each_panel(source, plain_tensors(a), [&](std::span<const float> values) {
    const PlainNumbers n = numbers_of(values);
    const std::lock_guard lock(mutex);
    all.bf16 = all.bf16 && n.bf16;
    all.f16 = all.f16 && n.f16;
    all.largest = std::max(all.largest, n.largest);
  });
  return all;
}

float largest_weight(const Architecture& a, const TensorSource& source) {
  std::vector<std::string> names;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) names.push_back(site.name);
  float all = 0;
  std::mutex mutex;
  for_each_panel(source, names, [&](std::span<const float> values) {
    const float most = largest_magnitude(values);
    const std::lock_guard lock(mutex);
    all = std::max(all, most);
  });
  return all;
}

std::optional<Dtype> parse_dtype(std::string_view text) {
  if (text.empty() || text == "auto") return std::nullopt;
  for (const auto& [name, dtype] : {std::pair<std::string_view, Dtype>{"float16", Dtype::f16},
                                    {"half", Dtype::f16},
                                    {"fp16", Dtype::f16},
                                    {"f16", Dtype::f16},
                                    {"bfloat16", Dtype::bf16},
                                    {"bf16", Dtype::bf16},
                                    {"float32", Dtype::f32},
                                    {"float", Dtype::f32},
                                    {"fp32", Dtype::f32},
                                    {"f32", Dtype::f32}})
    if (text == name) return dtype;
  fail(ErrorKind::usage, "there is no dtype '{}' for a model; choose auto, bfloat16, float16 or float32", text);
}

StoredDtype stored_dtype(const Architecture& a, const TensorSource& source, const Target& target,
                         std::optional<Dtype> asked) {
  const std::span<const Dtype> taken = target.model_dtypes();
  if (taken.empty()) return {a.dtype, ""};
  const auto takes = [&](Dtype d) { return std::find(taken.begin(), taken.end(), d) != taken.end(); };
  if (asked && !takes(*asked))
    fail(ErrorKind::usage, "{} takes no model in {}; its runtimes compute in bfloat16 or float16", target.name(),
         torch_name_of(*asked));
  if (asked && *asked == a.dtype) return {a.dtype, ""};
  if (asked)
    return {*asked, fmt::format("{}: embedding, norms and scales are stored in {} (--dtype), not in the model's {}",
                                target.name(), torch_name_of(*asked), torch_name_of(a.dtype))};
  if (a.dtype != Dtype::f32) return {a.dtype, ""};
  const PlainNumbers n = plain_numbers(a, source);
  const bool outside = n.largest > kLargestF16 || activations_exceed_f16(a);
  const float weight = n.bf16 || outside ? 0 : largest_weight(a, source);
  const bool large = weight > kLargestF16 / 2;
  const Dtype dtype = n.bf16 || outside || large ? Dtype::bf16 : Dtype::f16;
  const bool exact = dtype == Dtype::bf16 ? n.bf16 : n.f16;
  const std::string why = exact     ? "which holds the model's own numbers exactly"
                          : outside ? "because float16 has not their range"
                          : large   ? fmt::format("because weights up to {} leave float16 no range", weight)
                                    : "which rounds them least";
  return {dtype, fmt::format("{}: the model is in float32, which its runtimes do not run; embedding, norms and scales "
                             "are stored in {}, {} (--dtype chooses another)",
                             target.name(), torch_name_of(dtype), why)};
}

}  // namespace kerf
