// A size for the whole file, allocated to the matrices: which scheme each gets so that the predicted loss is smallest.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/text/windows.h"
#include "pipeline/plan/allocation.h"
#include "targets/target.h"
#include "verify/artifact.h"

namespace kerf {

/// Chooses among gguf_site_schemes(). The predicted loss is a sum over matrices of
///   KL(model || model with this matrix in a probe scheme) / error(probe) * error(scheme)
/// with the first factor measured on the windows (at most some 2,000 tokens of them) and errors relative and squared,
/// of rows rounded to nearest and weighted by the mean squares of their inputs. `given` overrides with a scheme leave
/// their matrices no choice. `name` is the model's. A note on stderr says that the measurement begins. Errors:
/// unsupported for a target that does not write GGUF, usage for a size that cannot be reached, with the smallest one;
/// both before anything is measured.
Allocation allocate(const Artifact&, const TargetChoice&, const std::string& name, std::span<const SiteOverride> given,
                    uint64_t bytes, const Windows&);

/// What allocate() would measure: from the shapes, and the pace of rounding on this machine, which takes a moment.
/// Errors as there.
struct AllocationWork {
  int64_t matrices = 0, tokens = 0;
  double passes = 0;    // of the whole model over the tokens, put together from parts of it
  double products = 0;  // floating-point operations of matrix products, in float32
  double rounding = 0;  // seconds, of matrices and samples of them to nearest
  uint64_t memory = 0;  // bytes, about, at its peak
};
AllocationWork allocation_work(const Artifact&, const TargetChoice&, const std::string& name,
                               std::span<const SiteOverride> given, uint64_t bytes, const Windows&);

}  // namespace kerf
