// Round to nearest: the grid searches the parameters of each block for the smallest squared error, in their stored
// form, and every weight takes the nearest code. With statistics the error of a column counts by the mean square of its
// input, as an importance matrix makes it count.
#include "grids/grid.h"
#include "quant/quantizer.h"

namespace kerf {
namespace {

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
