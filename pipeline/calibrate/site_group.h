// The sites that share an input, on their way from weights to codes: what calibrated packing decides for them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/ops/folds.h"
#include "pipeline/plan/method.h"
#include "prune/method.h"
#include "quant/input_statistics.h"
#include "quant/quantizer.h"

namespace kerf {

/// One of the sites that read the same input x.
struct GroupSite {
  const Site* site;
  const Scheme* scheme;  // nullptr: plain numbers, which stay as they are unless they are pruned
  const Method* method;
  /// The wanted weights W, [site->out, site->in] row-major: the checkpoint's, or what asymmetric calibration moved them
  /// to. All errors are against these.
  std::vector<float> w;
  /// How much of what shift_towards_full_precision() found was taken, 0 ... 1 (solver/asymmetric.h).
  double asymmetric_strength = 0;
  const RowFeedback* outputs = nullptr;  // what errors of its outputs cost; nullptr: each the same
  const Sparsity* sparsity = nullptr;    // what of W becomes zero; nullptr: nothing
  const PruneMethod* pruning = nullptr;  // how, where there is a sparsity
  Dtype dense = Dtype::f32;              // of plain numbers: what they are stored as
  /// Whether the weights of this site may become others than those of the checkpoint.
  bool changes() const { return scheme || sparsity; }
};

/// What became of one site.
struct ChosenSite {
  const Quantizer* quantizer = nullptr;  // nullptr for plain numbers
  QuantizedMatrix matrix;                // of W with its columns multiplied by the group's scales: what is stored
  std::vector<float> values;             // [out, in]: what stands for W on inputs that are not scaled
  /// The squared output error on the validation tokens, that of rounded activations and of zeros included, as
  /// GroupSite::outputs counts it, divided by `signal`; and the same of rounding to nearest without scales, zeros
  /// chosen by magnitude.
  double error = 0, error_rtn = 0;
  double signal = 0;  // sum |W x|^2 over the validation tokens, counted likewise
};

struct ChosenGroup {
  std::vector<float> scales;  // [in], of the input channels: x becomes x / scales; empty for none
  double alpha = 0;           // the exponent that they were made with (quant/awq.h); 0 for none
  double damping = 0;         // relative to the mean of the Hessian's diagonal; 0 where no Hessian was used
  bool smooth = false;        // scales are SmoothQuant's
  std::vector<ChosenSite> sites;
};

/// How a group's scales can be folded.
struct Folding {
  Fold fold;
  std::vector<float> norm;        // [in]: the present values of the norm, when a norm produces the channels
  Dtype norm_dtype = Dtype::f32;  // that they will be stored in,
  float norm_plus = 0;            // less this (a norm stored as w that acts as 1 + w)

  /// The value that a wanted one becomes when it is stored.
  float as_stored(float value) const {
    return norm_plus == 0 ? round_to(norm_dtype, value) : round_to(norm_dtype, value - norm_plus) + norm_plus;
  }
};

/// Moves the weights that will be quantized or pruned towards those that make up for what the activations lack, where
/// the statistics of asymmetric calibration are there. Leaves what choose_group() wants: without these, and pooled
/// where the run's method holds nothing out.
void settle_weights(std::vector<GroupSite>&, InputStatistics&, const Method& of_run);

/// Tries what the sites' methods say and keeps the best by the error on the validation tokens. Where there are none
/// (InputStatistics::validation), errors are measured on the fitted tokens themselves; where there are, what was best
/// is then done again with both together. Scaling, which concerns all sites, is tried when all methods have it and
/// there is a `folding`; leaving it away, unless no method allows that. With a sample of rounded activations their
/// rounding is part of every error. Zeros are chosen first, from W and the fitted statistics, and then again with those
/// of both; a quantizer that makes up for errors does so for those of the zeros too, in the same pass. Errors: as
/// Quantizer::prepare() and quantize().
ChosenGroup choose_group(std::span<const GroupSite>, const InputStatistics&, const QuantizerOptions&,
                         const std::optional<Folding>& folding);

/// The norm that goes with scales: norm / scales, in its stored type. choose_group() returns scales that make this
/// exact.
std::vector<float> folded_norm(const Folding&, std::span<const float> scales);

}  // namespace kerf
