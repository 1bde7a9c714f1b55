// What a compression cost: packed artifacts beside their reference, on the same tokens.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/evaluate.h"
#include "model/windows.h"
#include "verify/artifact.h"

namespace kerf {

/// How far one packed matrix is from its reference on the reference's own inputs x (those of the first windows, some
/// 1,024 tokens): ||y_packed - y|| / ||y||, where y = x W^T + b in float32 and y_packed is what the runtime computes.
struct SiteError {
  std::string name, type;
  double relative = 0;
};

struct Verification {
  Comparison comparison;
  std::vector<SiteError> sites;
};

/// Runs the reference in float32 and every packed artifact in its own arithmetic, block by block side by side, and
/// compares. One entry per packed artifact. Error bad_input, before anything is computed, when an artifact's vocabulary
/// or shape is not the reference's.
std::vector<Verification> verify(const Artifact& reference, std::span<const Artifact* const> packed, Numerics,
                                 const Windows&);

}  // namespace kerf
