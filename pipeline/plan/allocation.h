// Which scheme each matrix gets where a size was asked for (pipeline/runs/allocate.h).
#pragma once

#include <string>
#include <vector>

#include "pipeline/plan/budget.h"
#include "pipeline/plan/recipe.h"

namespace kerf {

struct Allocation {
  std::vector<SiteOverride> overrides;  // one per matrix, by its tensor's name
  std::string scheme;                   // the one that most weights got
  uint64_t bytes = 0;                   // of the files of weights
  double kl = 0;                        // predicted
  std::vector<Budget::Point> curve;     // files and their predicted KL, from the smallest to the largest that is of use
};

}  // namespace kerf
