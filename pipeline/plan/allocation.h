// Which scheme each matrix gets where a size was asked for (pipeline/runs/allocate.h).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "pipeline/plan/budget.h"
#include "pipeline/plan/recipe.h"

namespace kerf {

/// What one matrix got.
struct SiteChoice {
  std::string name;  // its tensor in the checkpoint
  std::string scheme;
  uint64_t bytes = 0;       // with its padding
  double predicted_kl = 0;  // its share of Allocation::kl
  bool operator==(const SiteChoice&) const = default;
};

struct Allocation {
  std::vector<SiteChoice> sites;     // embedding and head first, then the blocks in order
  std::string scheme;                // the one that most weights got
  uint64_t bytes = 0;                // of the files of weights
  double kl = 0;                     // predicted
  std::vector<Budget::Point> curve;  // files and their predicted KL, from the smallest to the largest that is of use

  /// Whether all matrices got the same scheme.
  bool uniform() const;
  /// One per matrix, by its tensor's name: what a recipe says to get the same.
  std::vector<SiteOverride> overrides() const;
};

/// "types chosen for 2891392 bytes: 20 matrices in IQ4_XS, 9 in Q5_K": the most frequent first.
std::string describe(const Allocation&);

/// As the report and the frozen plan have it; the numbers come back as they were. allocation_from_json: nlohmann's
/// exceptions for what is none.
nlohmann::ordered_json to_json(const Allocation&);
Allocation allocation_from_json(const nlohmann::ordered_json&);

}  // namespace kerf
