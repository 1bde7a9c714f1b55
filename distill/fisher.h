// Gradients whose second moments are the curvature of the divergence that compression is measured by.
#pragma once

#include <cstdint>
#include <span>

#include "model/text/windows.h"

namespace kerf {

/// KL(p || q) of logits has at q = p the Hessian F = diag(p) - p pT (the Fisher information of the prediction). With
/// random signs r, d = sqrt(p) * r - p (sqrt(p) . r) has the mean of d dT equal to F, as the gradient of a label drawn
/// from p has, and varies less where p is peaked. Writes one d for the logits [count, vocab] after each of the tokens
/// begin ... begin + count - 1; zeros where a window ends. Signs follow from seed, token and id. On kerf's threads.
void fisher_gradients(const Windows&, int64_t begin, int64_t count, uint64_t seed, std::span<const float> logits,
                      std::span<float> d);

}  // namespace kerf
