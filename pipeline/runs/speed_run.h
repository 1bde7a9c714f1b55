// `kerf bench`, and the speeds of a report: how fast kerf's own kernels compute a model, packed or not.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "pipeline/report/report.h"
#include "verify/artifact.h"

namespace kerf {

/// How long is measured, and on how much of the model.
struct SpeedLimits {
  static constexpr double kAll = std::numeric_limits<double>::infinity();

  int64_t ctx = 0;     // tokens of the window that prefill takes; 0: 512, or the model's context where that is shorter
  double seconds = 1;  // to measure for, at least, each of both,
  int passes = 3;      // and so many
  double held = kAll;  // weights that are held as float32: so many of the blocks, and of the head
  double passed = kAll;  // products of weights and tokens in one pass of prefill
};

/// Tokens per second of the fastest pass, in that arithmetic. Packed matrices are multiplied where they lie in the
/// file, others are held as float32. Blocks and rows beyond the limits (one block at least is taken, others are spread
/// over the model) count like those that were measured, by their weights. Error usage unless ctx is in 0 ... the
/// model's context.
Speed measure_speed(const Artifact&, VerifyMode, const SpeedLimits&);
/// The window's tokens. Error as there.
int64_t prefill_tokens(const Architecture&, int64_t ctx);

/// Of a report: one of several rounds, so that a moment in which the machine was busy with something else hits none of
/// the models alone. Some 64 MB for blocks (or one block) and as much for the head, of one model at a time; a second or
/// two for all of a small model.
SpeedLimits limits_of_report(const Architecture&);
constexpr int kRoundsOfReport = 3;
/// Bytes that measuring within the limits takes at most.
uint64_t speed_memory(const Architecture&, const SpeedLimits&);

struct SpeedOptions {
  std::string model;
  int64_t ctx = 0;
  double seconds = 1;
  VerifyMode numerics = VerifyMode::runtime;
};

struct SpeedRun {
  std::string format;
  int64_t ctx = 0;
  Speed speed;
};

/// Of a whole model. Errors: as open_artifact() and measure_speed().
SpeedRun speed_run(const SpeedOptions&);

}  // namespace kerf
