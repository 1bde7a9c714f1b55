// The main job: from a checkpoint to packed files of one or several targets, with the loss measured on the bytes.
#pragma once

#include "pipeline/plan/compress_options.h"
#include "pipeline/report/report.h"
#include "pipeline/runs/estimate.h"

namespace kerf {

/// Files of one target go to `out`, those of several to out/<target> with ':' as '-', each folder a repository with a
/// model card and a kerf-report.json of its own; `out` has the report of all. They are written and measured in a
/// staging folder and published together (pipeline/repository/publication.h): errors leave what was there before. So
/// does a missed gate, unless publish_anyway is said: then the files stay in the staging folder, what --resume needs
/// stays too, and a warning says where they are.
Report compress(const CompressOptions&);

/// What that would take. All that compress() refuses before it reads weights is refused here too. Nothing is measured
/// but the speed of this machine: how a size is allocated is left open (RunEstimate::choice), unless options.resume
/// finds a plan that a stopped run has left.
RunEstimate dry_run(const CompressOptions&);

}  // namespace kerf
