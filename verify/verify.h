// What a compression cost: packed artifacts beside their reference, on the same tokens.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/run/evaluate.h"
#include "model/text/windows.h"
#include "verify/artifact.h"
#include "verify/correspondence.h"

namespace kerf {

/// How far one packed matrix is from its reference on the reference's own inputs x (those of the first windows, some
/// 1,024 tokens): ||y_packed - y|| / ||y||, where y = x W^T + b in float32 and y_packed is what the runtime computes.
struct SiteError {
  std::string name, type;  // of the packed matrix
  double relative = 0;
};

struct Verification {
  Comparison comparison;
  std::vector<SiteError> sites;  // of the sites that both have in the same shape
};

/// A packed artifact, how it is to be computed, and how it lies in the reference: nullptr means as the
/// kerf-correspondence.json beside it says, and without one layer by layer, channel by channel, token by token.
struct VerifySide {
  const Artifact* artifact;
  VerifyMode numerics;
  const Correspondence* correspondence = nullptr;
  bool adapted = true;  // with the adapter that the artifact has, if any
};

/// Runs the reference in float32 and every packed artifact beside it, block by block, and compares
/// (model/run/evaluate.h has the formulas, of smaller vocabularies too). The windows are in the reference's ids. One
/// entry per side. Error bad_input, before anything is computed, for differences in shape that the correspondence does
/// not explain, and for windows with a token that a packed artifact does not have.
std::vector<Verification> verify(const Artifact& reference, std::span<const VerifySide> packed, const Windows&);

}  // namespace kerf
