// Asymmetric calibration: inputs of a compressed model are not those of the model in full precision, and the weights
// that make up for it are not those of the checkpoint (GPTAQ, Li et al., 2025; QEP, Arai and Ichikawa, 2025).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "solver/factor.h"

namespace kerf {

/// What the inputs x of the compressed model lack against those in full precision, x~, and what the hidden state h to
/// which the outputs are added lacks against h~. Sums over tokens, in the precision of the Hessian.
struct AsymmetricMoments {
  /// `hidden` is the width of h, 0 when the outputs are not added to it. `full` is that of x~ where channels have gone:
  /// its first n are those of x, which counts as zero in the others.
  AsymmetricMoments(int64_t n, int64_t hidden, int64_t full);
  AsymmetricMoments(int64_t n, int64_t hidden) : AsymmetricMoments(n, hidden, n) {}

  int64_t n = 0, m = 0, full = 0;
  std::vector<float> inputs;  // sum of x (x~ - x)T, [n, full]
  std::vector<float> states;  // sum of (h~ - h) xT, [m, n]

  /// x [tokens, n], full_x [tokens, full], h and full_h [tokens, m], which are not read when m is 0.
  void add(const float* x, const float* full_x, const float* h, const float* full_h, int64_t tokens);
  /// Adds the sums over other tokens, value by value. Error internal when the widths differ.
  void merge(const AsymmetricMoments& next);
};

/// The damping that goes with shift_towards_full_precision(), relative to the mean of the Hessian's diagonal. What is
/// missing is for the most part no linear function of the inputs: ten times the damping of GPTQ keeps chance out of
/// directions in which inputs hardly vary. 0.01 and 0.1 measured alike with 28,000 tokens, 0.1 better with 2,000, 1
/// worse.
constexpr double kCorrectionDamping = 0.1;

/// Moves W to the weights that a compressed model should have. For all tokens,
///   W' = W + D,  D = (W C + R) (H + damping I)^-1,  C = sum of (x~ - x) xT,  R = sum of (h~ - h) xT
/// makes sum of |h~ + W x~ - (h + W' x)|^2 + damping |W' - W|^2 least, and as sum of |h~ + W x~ - (h + Q x)|^2 is
/// that of |(W' - Q) x|^2 but for a constant (and the damping), whatever quantizes W under H quantizes W' the same way.
///
/// What D explains is in part chance. So it is taken times the strength, 0 to 1, that is best for the tokens of
/// `validation` and `validation_hessian`, which are not among those of the others. Returns that strength. w [rows, n];
/// the Factor is that of the fitted tokens' H.
double shift_towards_full_precision(std::vector<float>& w, const AsymmetricMoments& fitted, const Factor&,
                                    const AsymmetricMoments& validation, const Hessian& validation_hessian);
/// The same where inputs have gone: W x~ is that of full_w [rows, full], of whose columns w holds the first n.
double shift_towards_full_precision(std::vector<float>& w, std::span<const float> full_w,
                                    const AsymmetricMoments& fitted, const Factor&, const AsymmetricMoments& validation,
                                    const Hessian& validation_hessian);

}  // namespace kerf
