// Importance matrices and models: how they are measured, and which matrix of a model an entry is for.
#pragma once

#include <string>

#include "formats/imatrix.h"
#include "model/text/windows.h"
#include "quant/quantizer.h"
#include "verify/artifact.h"

namespace kerf {

/// The mean squares of every input of the blocks' matrices. Entries of other matrices that GGUF names (the head) are
/// left out. Where the file knows nothing of a matrix (no token came to it, or all its sums are 0) or of some of its
/// columns (sums of 0), a warning says so; nothing stands for the former, 0 for the latter. Error bad_input, naming
/// `file` and the matrix, when one of the model is missing, has another width, or the model has no such block: the
/// importance matrix of another model.
SiteStatistics statistics_of(const Architecture&, const Imatrix&, const std::string& file);

/// What the model itself says of inputs that a norm produces: normalised channels times its weight, so importance is
/// the square of that weight. Of other inputs, and where channels hardly differ, nothing.
SiteStatistics statistics_of_norms(const Architecture&, const TensorSource&);

/// Runs the model over the windows and sums up the squares of what enters each matrix of the blocks, as llama-imatrix
/// does. Products are those of calibration (model/run/fast_linear.h); of a quantized model the decoded weights.
Imatrix measure_imatrix(const Artifact&, const Windows&);

}  // namespace kerf
