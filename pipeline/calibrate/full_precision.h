// Matrices of the checkpoint as they are.
#pragma once

#include <vector>

#include "model/run/blockwise_forward.h"

namespace kerf {

/// w [site.out, site.in] row-major. Error numerical when a number is not finite.
std::vector<float> read_matrix(const TensorSource&, const Site&);

/// What a stream goes on with when a group's matrices are not replaced.
std::vector<BlockwiseForward::Replacement> passthrough(const BlockwiseForward::Group&, const TensorSource&);

}  // namespace kerf
