// The main job: from a checkpoint to packed files of one or several targets, with the loss measured on the bytes.
#pragma once

#include "pipeline/plan/compress_options.h"
#include "pipeline/report/report.h"
#include "pipeline/runs/estimate.h"

namespace kerf {

/// Files of one target go to `out`, those of several to out/<target> with ':' as '-'. kerf-report.json and the model
/// cards are written even when a gate is missed. Errors leave what was there before.
Report compress(const CompressOptions&);

/// What that would take. All that compress() refuses before it reads weights is refused here too. Nothing is measured
/// but the speed of this machine: how a size is shared out is left open (RunEstimate::choice), unless options.resume
/// finds a plan that a stopped run has left.
RunEstimate dry_run(const CompressOptions&);

}  // namespace kerf
