// converter_body.h compiled for ref.
#include "core/converter_body.h"

namespace kerf {
const Converter& converter_ref() {
  static constexpr Converter table = table_for(Isa::ref);
  return table;
}
}  // namespace kerf
