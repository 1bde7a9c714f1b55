// The main job: from a checkpoint to packed files of one or several targets, with the loss measured on the bytes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/plan/recipe.h"
#include "pipeline/report/report.h"
#include "pipeline/runs/estimate.h"

namespace kerf {

struct CompressOptions : Recipe {
  std::string model;
  std::filesystem::path out;
  bool resume = false;          // go on with what a killed run of the same kind has left
  int64_t save_every = 20;      // seconds between saved states of a calibrated run
  uint64_t memory = 0;          // bytes that a calibrated run may use; activations beyond go to a file; 0: any
  bool force = false;           // write into a folder that is not empty
  bool publish_anyway = false;  // let the files take their place even when a gate is missed
  uint64_t bytes = 0;  // of all files of weights at most, shared out among the matrices (allocate.h); 0: no limit
  double bpw = 0;      // the same as bits per parameter of the model
};

/// Files of one target go to `out`, those of several to out/<target> with ':' as '-', with kerf-report.json and the
/// model cards. They are written and measured in a staging folder and published together
/// (pipeline/repository/publication.h): errors leave what was there before. So does a missed gate, unless
/// publish_anyway is said: then the files stay in the staging folder, what --resume needs stays too, and a warning says
/// where they are.
Report compress(const CompressOptions&);

/// What that would take. All that compress() refuses before it reads weights is refused here too.
RunEstimate dry_run(const CompressOptions&);

}  // namespace kerf
