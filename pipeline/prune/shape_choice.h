// How much of which axis goes when a size is to be reached: the loss of each axis alone is measured at some widths, and
// of all combinations that are small enough the one that is predicted to lose least is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/arch/architecture.h"
#include "prune/shape.h"

namespace kerf {

/// One axis cut alone, or a combination.
struct ShapePoint {
  PrunedShape shape;
  double size = 0;  // what is limited: parameters, or bytes of the files
  double kl = 0;    // mean KL(model || pruned model), measured; of a combination that was not, the sum of its parts
  bool measured = false;
};

struct ShapeChoice {
  PrunedShape shape;
  std::vector<ShapePoint> curve;         // each axis alone, by axis and falling size
  std::vector<ShapePoint> combinations;  // that were measured, best first
};

/// What a shape comes to. Errors of either end the choice.
struct ShapeMeasures {
  std::function<double(const PrunedShape&)> size;
  std::function<double(const PrunedShape&)> kl;
  std::function<bool(const PrunedShape&)> loads = [](const PrunedShape&) { return true; };  // in its targets
};

/// Among depth (to half of the blocks), widths of the residual stream (in steps of an eighth, to half) and of the MLP
/// (to a quarter) and heads (to half of them), widths in multiples of `multiple`. Losses of axes count as independent;
/// the kCombinations best are measured together. Nothing where the whole model is small enough. Error usage, with the
/// smallest size that is offered, when no combination reaches `most`.
ShapeChoice choose_shape(const Architecture&, int64_t multiple, double most, const ShapeMeasures&);

}  // namespace kerf
