// Round to nearest: the grid searches the parameters of each block for the smallest squared error, in their stored
// form, and every weight takes the nearest code.
#include "grids/grid.h"
#include "quant/quantizer.h"

namespace kerf {
namespace {

class Rtn final : public Quantizer {
 public:
  std::string_view name() const override { return "rtn"; }
  QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Scheme& scheme,
                           std::span<const float> importance) const override {
    const Grid& grid = find_grid(scheme.grid);
    grid.check(scheme);
    QuantizedMatrix q = allocate(scheme, rows, cols);
    grid.fit(w, importance, q);
    grid.encode(w, q);
    return q;
  }
};

}  // namespace

const Quantizer& quantizer_rtn() {
  static const Rtn rtn;
  return rtn;
}

}  // namespace kerf
