// How large a pruned model will be: shares of a request in whole layers, channels and heads of a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/arch/architecture.h"
#include "model/arch/correspondence.h"
#include "prune/request.h"

namespace kerf {

/// One axis of which a part goes, the same number in every layer.
struct AxisCut {
  std::string axis;    // "ffn", "head", "hidden"; of the matrices that read it columns are chosen
  int64_t group = 1;   // neighbouring elements that go together
  int64_t groups = 0;  // that there are,
  int64_t keep = 0;    // and that stay
  int64_t family = 0;  // solver/column_elimination.h
  std::string with;    // an axis that goes with it, group for group: "kv" with whole groups of "head"
};

struct PrunedShape {
  int64_t depth = 0;  // blocks that go
  std::vector<AxisCut> cuts;

  const AxisCut* cut_of(const std::string& axis) const;
};

/// The nearest cuts to these shares that stay, of the channels of "ffn" or "hidden" in multiples of `multiple` (at
/// least one), of heads in whole groups of those that share keys and values, or as many of every group, whichever comes
/// nearer (whole groups among equals: they save keys and values, too). The width of the heads together stays a multiple
/// of what it has in common with `multiple`, where a smaller number of them is one. nullopt where nothing would go.
std::optional<AxisCut> cut_of_channels(const Architecture&, const char* axis, double share, int64_t multiple);
std::optional<AxisCut> cut_of_heads(const Architecture&, double share, int64_t multiple);

/// Error usage when nothing would be left, or nothing would go.
PrunedShape pruned_shape(const Architecture&, const PruneRequest&, int64_t multiple);

/// A sentence for each share that no width comes near (to a twentieth of the axis).
std::vector<std::string> shares_missed(const Architecture&, const PruneRequest&, const PrunedShape&, int64_t multiple);

/// What stays, a line for each axis that is cut: "ffn: 576 of 768 channels".
std::vector<std::string> describe(const Architecture&, const PrunedShape&);
/// Values of --prune that lead to the same shape with the same multiple.
std::vector<std::string> request_of(const PrunedShape&);

/// That shape with the first of everything kept, for plans and sizes before anything is chosen.
Correspondence first_of_everything(const Architecture&, const PrunedShape&);

}  // namespace kerf
