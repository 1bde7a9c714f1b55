// `kerf bench`: how fast kerf's own kernels compute a model, packed or not, in its runtime's arithmetic.
#pragma once

#include <cstdint>
#include <string>

#include "verify/artifact.h"

namespace kerf {

struct SpeedOptions {
  std::string model;
  int64_t ctx = 0;     // tokens of the window that prefill takes; 0: 512, or the model's context where that is shorter
  double seconds = 1;  // to measure for, at least, each of both
  VerifyMode numerics = VerifyMode::runtime;
};

/// Tokens per second of the fastest pass.
struct Speed {
  std::string format;
  int64_t ctx = 0;
  double prefill = 0;  // one window through all blocks: products, attention, norms; without the head
  double decode = 0;   // the products of one token with every matrix and the head, which is what decoding a short text
                       // takes; attention to the past is left out
};

/// All matrices stay loaded while decode is measured: packed ones where they lie in the file, others as float32, but
/// for an embedding or head in plain numbers, which is converted panel by panel in every pass. Error usage unless ctx
/// is in 0 ... the model's context.
Speed speed_run(const SpeedOptions&);

}  // namespace kerf
