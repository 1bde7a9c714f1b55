// The sites that share an input, on their way from weights to codes: what calibrated packing decides for them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/ops/folds.h"
#include "pipeline/plan/method.h"
#include "quant/activation_rounding.h"
#include "quant/quantizer.h"

namespace kerf {

struct GroupSite {
  const Site* site;
  const Scheme* scheme;  // nullptr: stays as it is
  const Method* method;
  std::vector<float> w;            // wanted
  double asymmetric_strength = 0;  // how far w is on the way from the checkpoint's to what
                                   // shift_towards_full_precision() finds (solver/asymmetric.h)
};

/// What became of one site.
struct ChosenSite {
  const Quantizer* quantizer = nullptr;
  QuantizedMatrix matrix;           // of w * scales
  std::vector<float> values;        // what stands for w
  double error = 0, error_rtn = 0;  // relative to
  double signal = 0;                // that of w's outputs on the validation's tokens
};

struct ChosenGroup {
  std::vector<float> scales;  // of the input channels; empty for none
  double alpha = 0, damping = 0;
  bool smooth = false;
  std::vector<ChosenSite> sites;
};

/// How a group's scales can be folded.
struct Folding {
  Fold fold;
  std::vector<float> norm;        // the present values of the norm, when a norm produces the channels
  Dtype norm_dtype = Dtype::f32;  // that they will be stored in
};

/// Tries what the sites' methods say and keeps the best by the error on `validation`; where that is not the statistics'
/// own Hessian, what was best is then done again with both together. Scaling, which concerns all sites, is tried when
/// all methods have it and there is a `folding`; leaving it away, unless no method allows that. With `rounded`
/// activations their rounding is part of every error.
ChosenGroup choose_group(std::span<const GroupSite>, Statistics&, const Hessian& validation, const QuantizerOptions&,
                         const std::optional<Folding>& folding, const ActivationSample* rounded = nullptr);

/// The norm that goes with scales: norm / scales, in its stored type. choose_group() returns scales that make this
/// exact.
std::vector<float> folded_norm(const Folding&, std::span<const float> scales);

}  // namespace kerf
