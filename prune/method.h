// How weights are pruned, as `--prune-method` says it: a pruner, and whether the weights that stay are solved anew.
#pragma once

#include <string>
#include <string_view>

#include "prune/pruner.h"

namespace kerf {

struct PruneMethod {
  const Pruner* pruner = nullptr;
  bool refit = false;  // refit.h
  std::string name() const;
};

/// "magnitude", "wanda", "sparsegpt", each alone or with "+refit"; "" is sparsegpt+refit with a calibration text,
/// magnitude without. Error usage for another name, or one that needs a calibration text where there is none.
PruneMethod parse_prune_method(std::string_view, bool calibrated);

}  // namespace kerf
