// What a compression cost: packed artifacts beside their reference, on the same tokens.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/run/evaluate.h"
#include "model/text/windows.h"
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

/// A packed artifact and how it is to be computed.
struct VerifySide {
  const Artifact* artifact;
  VerifyMode numerics;
};

/// Runs the reference in float32 and every packed artifact beside it, block by block, and compares. One entry per side.
/// Error bad_input, before anything is computed, when an artifact's vocabulary or shape is not the reference's.
std::vector<Verification> verify(const Artifact& reference, std::span<const VerifySide> packed, const Windows&);

}  // namespace kerf
