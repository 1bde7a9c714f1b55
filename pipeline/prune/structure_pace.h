// How long pruning a structure will take: its steps are run on one block and a few windows, and what they took is
// scaled up.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "pipeline/prune/structure.h"

namespace kerf {

/// Of one model and one text. Everything must outlive it. For one thread.
class StructurePace {
 public:
  StructurePace(const Architecture&, const TensorSource&, bool correct, double damping, const Windows&);

  /// Seconds of prune_structure() to that shape with so many tokens. Each kind of cut is measured once, on about 1,024
  /// and 2,048 tokens of the first two blocks: what grows with tokens, and what does not. Blocks count as alike, and
  /// without cuts half of those that stay as corrected: the other half lies before the first block that goes.
  double seconds(const PrunedShape&, int64_t tokens);

 private:
  struct Line {
    double fixed = 0, per_token = 0;
    double at(int64_t tokens) const { return fixed + per_token * static_cast<double>(tokens); }
  };
  /// Of a block that stays, with nothing gone before it and with something, and of one that goes.
  struct Kind {
    Line first, later, gone;
  };
  const Kind& kind_of(const PrunedShape&);
  Line line(const std::function<void(const Windows&)>& work) const;
  void prune_one(const PrunedShape&, int64_t layer, const Windows&) const;
  void pass_one(const Windows&) const;

  const Architecture& architecture_;
  const TensorSource& source_;
  const bool correct_;
  const double damping_;
  const Windows some_, fewer_;
  std::map<std::string, Kind> kinds_;
};

}  // namespace kerf
