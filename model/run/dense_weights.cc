// Float32 weights from a TensorSource, read in panels of rows on all threads.
#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/converter.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "model/run/weights.h"

namespace kerf {
namespace {

constexpr int64_t kReadElements =
    1 << 16;                          // one task: 256 KiB of floats, small against caches and large against its cost
constexpr int64_t kPanelRows = 1024;  // rows of a head that are converted at a time

const TensorInfo& find_matrix(const TensorSource& source, const std::string& name, int64_t out, int64_t in) {
  const TensorInfo* info = source.find(name);
  if (!info) fail(ErrorKind::bad_input, "the checkpoint has no tensor {}", name);
  if (info->shape != std::vector<int64_t>{out, in})
    fail(ErrorKind::bad_input, "tensor {} has {} rows and {} columns, not the {} x {} of the architecture", name,
         info->rows(), info->cols(), out, in);
  return *info;
}

/// Rows [begin, end) as float32, checked.
void convert_rows(const TensorSource& source, const TensorInfo& info, int64_t begin, int64_t end, float* to) {
  const int64_t cols = info.cols(), rows = std::max<int64_t>(1, kReadElements / std::max<int64_t>(1, cols));
  parallel_for(ceil_div(end - begin, rows), [&](int64_t i) {
    const int64_t first = begin + i * rows, last = std::min(end, first + rows);
    const std::span<float> part(to + (first - begin) * cols, static_cast<size_t>((last - first) * cols));
    source.read(info, first, part);
    check_finite(part, info.name, first, cols);
  });
}

class WholeLinear final : public Linear {
 public:
  WholeLinear(const TensorSource& source, const TensorInfo& info)
      : Linear(info.rows(), info.cols()),
        weights_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(info.elements()))) {
    convert_rows(source, info, 0, out, weights_.get());
  }
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    matmul_nt(tokens, row_end - row_begin, in, x, in, weights_.get() + row_begin * in, in, y, y_stride);
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    std::copy_n(weights_.get() + row_begin * in, (row_end - row_begin) * in, to);
  }

 private:
  std::unique_ptr<float[]> weights_;
};

// One thread at a time: the panel at hand is kept.
class PanelLinear final : public Linear {
 public:
  PanelLinear(const TensorSource& source, const TensorInfo& info)
      : Linear(info.rows(), info.cols()),
        source_(source),
        info_(info),
        panel_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(std::min(out, kPanelRows) * in))) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    for (int64_t r = row_begin; r < row_end;) {
      const int64_t begin = r / kPanelRows * kPanelRows, end = std::min(out, begin + kPanelRows);
      if (begin != held_) {
        held_ = -1;
        convert_rows(source_, info_, begin, end, panel_.get());
        held_ = begin;
      }
      const int64_t last = std::min(end, row_end);
      matmul_nt(tokens, last - r, in, x, in, panel_.get() + (r - begin) * in, in, y + (r - row_begin), y_stride);
      r = last;
    }
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    convert_rows(source_, info_, row_begin, row_end, to);
  }

 private:
  const TensorSource& source_;
  const TensorInfo& info_;
  std::unique_ptr<float[]> panel_;
  mutable int64_t held_ = -1;  // first row in panel_
};

class DenseWeights final : public WeightProvider {
 public:
  DenseWeights(const Architecture& a, const TensorSource& source) : arch_(a), source_(source) {}

  std::unique_ptr<Linear> linear(const Site& site) override { return dense_linear(source_, site, site.layer < 0); }

  std::vector<float> vector(const std::string& name) override { return read_vector(source_, name); }

  void embed(std::span<const int32_t> ids, float* out) override {
    const Site site = arch_.embedding();
    const TensorInfo& info = find_matrix(source_, site.name, site.out, site.in);
    check_ids(ids, site.out);
    constexpr int64_t kIds = 64;  // per task
    const auto n = static_cast<int64_t>(ids.size());
    parallel_for(ceil_div(n, kIds), [&](int64_t i) {
      for (int64_t t = i * kIds; t < std::min(n, (i + 1) * kIds); ++t) {
        const int32_t id = ids[static_cast<size_t>(t)];
        const std::span<float> row(out + t * site.in, static_cast<size_t>(site.in));
        source_.read(info, id, row);
        check_finite(row, info.name, id, site.in);
      }
    });
  }

 private:
  const Architecture arch_;
  const TensorSource& source_;
};

}  // namespace

std::unique_ptr<Linear> dense_linear(const TensorSource& source, const Site& site, bool by_panel) {
  const TensorInfo& info = find_matrix(source, site.name, site.out, site.in);
  if (by_panel) return std::make_unique<PanelLinear>(source, info);
  return std::make_unique<WholeLinear>(source, info);
}

std::vector<float> read_vector(const TensorSource& source, const std::string& name) {
  const TensorInfo* info = source.find(name);
  if (!info) fail(ErrorKind::bad_input, "the checkpoint has no tensor {}", name);
  std::vector<float> v(static_cast<size_t>(info->elements()));
  source.read(*info, 0, v);
  check_finite(v, name, 0, info->cols());
  if (info->plus != 0)
    for (float& x : v) x += info->plus;
  return v;
}

std::unique_ptr<WeightProvider> dense_weights(const Architecture& a, const TensorSource& source) {
  return std::make_unique<DenseWeights>(a, source);
}

void check_finite(std::span<const float> values, std::string_view tensor, int64_t row_begin, int64_t cols) {
  if (std::isfinite(converter().largest_magnitude(values.data(), std::ssize(values)))) return;
  const auto at = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  const int64_t i = at - values.begin();
  fail(ErrorKind::numerical, "tensor {} holds {} at [{}, {}]: the model is damaged", tensor, *at, row_begin + i / cols,
       i % cols);
}

void check_ids(std::span<const int32_t> ids, int64_t vocab) {
  for (size_t t = 0; t < ids.size(); ++t)
    if (ids[t] < 0 || ids[t] >= vocab)
      fail(ErrorKind::bad_input,
           "token {} at position {} lies outside of the vocabulary of {}: tokenizer and model do not belong together",
           ids[t], t, vocab);
}

}  // namespace kerf
