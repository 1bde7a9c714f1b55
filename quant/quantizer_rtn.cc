// Round to nearest: the grid searches the parameters of each block for the smallest squared error, in their stored
// form, and every weight takes the nearest code. With statistics the error of a column counts by the mean square of its
// input, as an importance matrix makes it count.
#include <cmath>

#include "grids/grid.h"
#include "quant/quantizer.h"

namespace kerf {
namespace {

// Where neighbouring weights share a word and no Hessian says what counts, one importance per weight: large ones count
// more, as llama-quantize has it; by sqrt(2 m + w^2), m being the mean square of the 256 around it.
std::vector<float> by_size(std::span<const float> w, std::span<const float> importance) {
  constexpr size_t kBlock = 256;
  std::vector<float> each(w.size());
  for (size_t begin = 0; begin < w.size(); begin += kBlock) {
    double squares = 0;
    for (size_t i = begin; i < begin + kBlock; ++i) squares += static_cast<double>(w[i]) * static_cast<double>(w[i]);
    const float base = static_cast<float>(squares * (2.0 / kBlock));
    for (size_t i = begin; i < begin + kBlock; ++i) each[i] = std::sqrt(base + w[i] * w[i]);
    if (importance.empty()) continue;
    const float* columns = importance.data() + begin % importance.size();
    for (size_t i = 0; i < kBlock; ++i) each[begin + i] *= columns[i];
  }
  return each;
}

// Zeros fit every block's range and, on a grid that has a zero, round to themselves.
std::vector<float> with_zeros(std::span<const float> w, const Mask& mask) {
  std::vector<float> masked(w.begin(), w.end());
  for (size_t i = 0; i < masked.size(); ++i)
    if (mask.zero[i] != 0) masked[i] = 0.0f;
  return masked;
}

class PreparedRtn final : public PreparedQuantizer {
 public:
  PreparedRtn(const InputStatistics* s, const Scheme& scheme) : scheme_(scheme) {
    if (!s) return;
    importance_ = s->importance;
    calibrated_ = importance_.empty();
    if (calibrated_)
      for (int64_t i = 0; i < s->fitted.n; ++i) importance_.push_back(s->fitted.diagonal(i));
  }

  QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Mask* mask,
                           const RowFeedback*) const override {
    std::vector<float> free;
    if (mask) {
      check_mask(scheme_, *mask, rows, cols);
      free = with_zeros(w, *mask);
      w = free;
    }
    QuantizedMatrix q = allocate(scheme_, rows, cols);
    const bool sized = scheme_.codeword > 1 && !calibrated_;
    find_grid(scheme_.grid).fit_and_encode(w, sized ? by_size(w, importance_) : importance_, q);
    if (mask) q.mask = *mask;
    return q;
  }

 private:
  const Scheme scheme_;
  std::vector<float> importance_;  // of each column; empty for all alike
  bool calibrated_ = false;        // importance is the diagonal of a Hessian
};

class Rtn final : public Quantizer {
 public:
  std::string_view name() const override { return "rtn"; }
  std::string_view describe() const override { return "round to nearest, scales searched for the smallest error"; }
  bool needs_hessian() const override { return false; }
  std::unique_ptr<PreparedQuantizer> prepare(const InputStatistics* s, const Scheme& scheme,
                                             const QuantizerOptions&) const override {
    find_grid(scheme.grid).check(scheme);
    return std::make_unique<PreparedRtn>(s, scheme);
  }
};

}  // namespace

const Quantizer& quantizer_rtn() {
  static const Rtn rtn;
  return rtn;
}

}  // namespace kerf
