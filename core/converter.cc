#include "core/converter.h"

#include "core/fastest.h"

namespace kerf {

const Converter& converter() {
  static const Converter& best = fastest(all_converters());
  return best;
}

}  // namespace kerf
