// How long calibration will take: its steps are run on the first block, a few windows and some rows of each matrix, and
// what they took is scaled up.
#pragma once

#include "pipeline/calibrate/calibrated.h"

namespace kerf {

/// Seconds of a whole calibrated run, all targets together.
struct CalibrationTime {
  double gradients = 0;   // of output Hessians, where they are asked for
  double passes = 0;      // through the blocks: of each target, and in full precision where that runs beside
  double statistics = 0;  // sums over the inputs of each group
  double choosing = 0;    // codes of all matrices, the head's where they are calibrated too
  double total() const { return gradients + passes + statistics + choosing; }
};

/// Runs block 0 of the source. Passes and statistics are measured on about 2,048 tokens of the job's windows and grow
/// with tokens; choices are measured on two numbers of rows and grow by what these differ in. Wider inputs than 2,048
/// are cut, and time grows with the square of what is cut (with its cube where it does not depend on rows). Other
/// blocks count by the weights of their sites. The job's targets need no writers, and its states are not touched. Takes
/// at most a tenth of the run, for a small model about a second. Errors: as pack_calibrated().
CalibrationTime measure_calibration(const CalibrationJob&);

}  // namespace kerf
