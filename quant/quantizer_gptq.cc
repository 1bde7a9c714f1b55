// GPTQ on any grid: columns are chosen in order and the rest makes up for their error (Frantar et al., 2022).
// Parameters of a block are fitted when the pass reaches it, on the weights as errors so far have moved them; what
// weighs most comes first. Further passes choose every block again, parameters and codes, while all others stay as they
// are. The work is done in solver/grid_solver.h.
#include "core/error.h"
#include "grids/grid.h"
#include "quant/quantizer.h"
#include "solver/grid_solver.h"

namespace kerf {
namespace {

class PreparedGptq final : public PreparedQuantizer {
 public:
  PreparedGptq(const InputStatistics& s, const Scheme& scheme, const QuantizerOptions& o)
      : scheme_(scheme),
        mean_(s.fitted.mean()),
        solver_(s.fitted, scheme, o.damping, o.refine),
        nearest_(solver_.fits_parameters() ? nullptr : find_quantizer("rtn").prepare(&s, scheme, o)) {}

  QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Mask* mask,
                           const RowFeedback* between_rows) const override {
    QuantizedMatrix q = nearest_ ? nearest_->quantize(w, rows, cols, mask) : allocate(scheme_, rows, cols);
    if (mask) q.mask = *mask;
    solver_.solve(w, q, between_rows);
    return q;
  }
  double damping() const override { return mean_ > 0 ? solver_.factor().damping / mean_ : 0; }

 private:
  const Scheme scheme_;
  const double mean_;  // of the Hessian's diagonal
  const GridSolver solver_;
  const std::unique_ptr<PreparedQuantizer> nearest_;  // gives parameters that are not fitted on the way
};

class Gptq final : public Quantizer {
 public:
  std::string_view name() const override { return "gptq"; }
  std::string_view describe() const override {
    return "error feedback through the Hessian of the inputs, then passes of coordinate descent";
  }
  bool needs_hessian() const override { return true; }
  std::unique_ptr<PreparedQuantizer> prepare(const InputStatistics* s, const Scheme& scheme,
                                             const QuantizerOptions& o) const override {
    if (!s || s->fitted.n == 0) fail(ErrorKind::internal, "gptq was called without a Hessian");
    find_grid(scheme.grid).check(scheme);
    return std::make_unique<PreparedGptq>(*s, scheme, o);
  }
};

}  // namespace

const Quantizer& quantizer_gptq() {
  static const Gptq gptq;
  return gptq;
}

}  // namespace kerf
