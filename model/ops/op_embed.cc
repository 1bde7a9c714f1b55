// Rows of the embedding for token ids. The pass reads them itself (WeightProvider::embed): it has ids, not activations.
#include "model/ops/op.h"

namespace kerf {

const Operation& op_embed() {
  static const Operation operation{.name = "embed", .index = op_index<Embed>()};
  return operation;
}

}  // namespace kerf
