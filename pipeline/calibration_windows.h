// The windows that a model is calibrated on.
#pragma once

#include "model/windows.h"
#include "pipeline/options.h"
#include "verify/artifact.h"

namespace kerf {

/// Reads the calibration text in the model's own tokens and chat template. At most `windows` of them: the text may hold
/// fewer. Errors: usage for a ctx past the model's context, bad_input for a model without a tokenizer, for tokens that
/// its embedding lacks, and as cut_calibration says. REQUIRES: a text was given.
Windows read_calibration(const Artifact&, const CalibrationOptions&);

}  // namespace kerf
