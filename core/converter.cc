#include "core/converter.h"

namespace kerf {

const Converter& converter() {
  static const Converter& best = [&]() -> const Converter& {
    const Converter* found = nullptr;
    for (const Converter* c : all_converters())
      if (c->isa <= isa() && (!found || c->isa > found->isa)) found = c;
    return *found;
  }();
  return best;
}

}  // namespace kerf
