// The weights of a packed file on their way through training and back into such a file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/low_rank.h"
#include "distill/phase.h"
#include "distill/student.h"
#include "grids/quantized_matrix.h"
#include "pipeline/distill/original_weights.h"
#include "pipeline/plan/plan.h"
#include "verify/artifact.h"

namespace kerf {

/// By the checkpoint's names, rows in its order.
struct PackedWeights {
  std::map<std::string, QuantizedMatrix> packed;
  std::map<std::string, std::vector<float>> plain;  // that training has changed
  std::map<std::string, LowRank> adapters;          // in a file of their own
};

/// All packed matrices of a file that was written for this plan.
PackedWeights read_packed(const Artifact&, const TargetPlan&);

/// A student with these weights, of which it trains what the phase says. `original` gives the values that code
/// positions begin at. Zeros of matrices that the plan prunes stay.
/// `rank` is that of adapters.
Student make_student(const PackedWeights&, const Artifact&, const TargetPlan&, DistillPhase,
                     const OriginalWeights& original, int64_t rank);
/// Of packed matrices: how many there are, and in how many scales and codes stay.
struct Untrained {
  int64_t matrices = 0, scales = 0, codes = 0;
};
Untrained untrained(const Student&);
/// What the student has become.
void take_back(Student&, PackedWeights&);

/// Writes all of the plan's file: what is in the weights, and the rest as the artifact has it.
void write_packed(const PackedWeights&, const Artifact&, const TargetPlan&, Writer&);

}  // namespace kerf
