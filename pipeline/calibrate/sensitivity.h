// How much the predictions of a model suffer when one of its matrices is rounded.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

/// A matrix and values [out, in] that stand for it. They are asked for when its turn comes, block by block.
struct Probe {
  Site site;
  std::function<std::vector<float>()> values;
};

/// For each probe the mean KL(model || model with that one matrix replaced) over the windows, everything in float32.
/// The blocks before a matrix are run once, those after it once per probe. Probes must come embedding and head (layer
/// -1) first, then by layer. Memory: the values of a block's probes, and their hidden states.
std::vector<double> probe_kl(const Architecture&, const TensorSource&, std::span<const Probe>, const Windows&);

/// What that takes for matrices of these layers (-1: embedding and head): passes over all blocks, put together from
/// parts of them, and products of weights with one token, the heads' included.
struct ProbeWork {
  double passes = 0, products = 0;
};
ProbeWork probe_work(const Architecture&, std::span<const Site>);

}  // namespace kerf
