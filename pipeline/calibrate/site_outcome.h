// What calibration did to one matrix, for reports and for what a killed run has saved.
#pragma once

#include <cstdint>
#include <string>

namespace kerf {

/// Errors are relative to the matrix's output: sum |E x|^2 / sum |W x|^2 over the validation tokens, or over all tokens
/// where the method keeps none out. E = W - Q for the weights Q that the file holds, and W the wanted weights: the
/// checkpoint's, or those that asymmetric calibration moved them to. Where the runtime rounds activations, the expected
/// error of that is part of both errors.
struct SiteOutcome {
  std::string name;  // of the matrix in the checkpoint
  /// The quantizer that was chosen, with "+awq" or "+smooth" where inputs were scaled; where weights were pruned the
  /// pruner before it and the sparsity behind: "sparsegpt+gptq 2:4", or "sparsegpt 2:4" of plain numbers.
  std::string method;
  /// Of rounding to nearest without scaling, weighted by the mean square of each input, zeros chosen by magnitude.
  double error_rtn = 0;
  double error = 0;                // of what was chosen
  double alpha = 0;                // exponent of activation-aware scaling; 0: none
  double damping = 0;              // relative to the mean of the Hessian's diagonal; 0 where none was needed
  double asymmetric_strength = 0;  // how much of what asymmetric calibration finds is taken, 0 ... 1; 0: none
  int64_t dead = 0;                // input channels that were zero in all fitted tokens
  double zeros = 0;                // share of the weights that is pruned
};

}  // namespace kerf
