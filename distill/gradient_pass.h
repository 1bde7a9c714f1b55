// Forward and back through a whole model: the gradients of a loss over the logits.
#pragma once

#include "distill/loss.h"
#include "distill/trained_model.h"
#include "kernels/arithmetic.h"
#include "model/text/windows.h"

namespace kerf {

/// Hands the gradients of the mean loss per scored position to the model, and returns that mean. Activations of a block
/// are computed anew on the way back, so that memory is one block's, the hidden states of the batch after each block,
/// and the logits of some tokens. Results do not depend on the number of threads.
double add_gradients(TrainedModel&, const Windows& batch, Loss&, const Arithmetic&);

/// The mean loss alone.
double mean_loss(TrainedModel&, const Windows& batch, Loss&, const Arithmetic&);

}  // namespace kerf
