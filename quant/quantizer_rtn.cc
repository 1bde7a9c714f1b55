// Round to nearest: the grid searches the parameters of each block for the smallest squared error, in their stored
// form, and every weight takes the nearest code. With statistics the error of a column counts by the mean square of its
// input, as an importance matrix makes it count.
#include <cmath>

#include "grids/grid.h"
#include "quant/quantizer.h"

namespace kerf {
namespace {

// Where neighbouring weights share a word and there is no Hessian to validation by, one per weight: large ones count
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

class Rtn final : public Quantizer {
 public:
  std::string_view name() const override { return "rtn"; }
  std::string_view describe() const override { return "round to nearest, scales searched for the smallest error"; }
  bool needs_hessian() const override { return false; }
  QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Scheme& scheme,
                           const Statistics* statistics, const QuantizerOptions&) const override {
    const Grid& grid = find_grid(scheme.grid);
    grid.check(scheme);
    std::vector<float> importance = statistics ? statistics->importance : std::vector<float>();
    if (statistics && importance.empty())
      for (int64_t i = 0; i < cols; ++i) importance.push_back(statistics->hessian.diagonal(i));
    const bool calibrated = statistics && statistics->importance.empty();
    if (scheme.codeword > 1 && !calibrated) importance = by_size(w, importance);
    QuantizedMatrix q = allocate(scheme, rows, cols);
    grid.fit_and_encode(w, importance, q);
    return q;
  }
};

}  // namespace

const Quantizer& quantizer_rtn() {
  static const Rtn rtn;
  return rtn;
}

}  // namespace kerf
