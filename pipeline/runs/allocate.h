// A size for the whole file, shared out among the matrices: which scheme each gets so that the predicted loss is
// smallest.
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
/// their matrices no choice. `name` is the model's. Errors: unsupported for a target that does not write GGUF, usage
/// for a size that cannot be reached, with the smallest one.
Allocation allocate(const Artifact&, const TargetChoice&, const std::string& name, std::span<const SiteOverride> given,
                    uint64_t bytes, const Windows&);

}  // namespace kerf
