// What calibration did to one matrix, for reports and for what a killed run has saved.
#pragma once

#include <cstdint>
#include <string>

namespace kerf {

/// Errors are relative to the matrix's output, sum |E x|^2 / sum |W x|^2 over the
/// tokens that the method is judged on; W are the moved weights where asymmetric calibration moved them.
struct SiteOutcome {
  std::string name, method;
  double error_rtn = 0;  // of rounding to nearest, weighted by the mean square of each input
  double error = 0;
  double alpha = 0;    // of activation-aware scaling; 0: none
  double damping = 0;  // relative to the mean of the Hessian's diagonal; 0 where none was needed
  double asymmetric_strength = 0;    // strength of asymmetric calibration (solver/asymmetric.h); 0: none
  int64_t dead = 0;    // input channels that were always zero
};

}  // namespace kerf
