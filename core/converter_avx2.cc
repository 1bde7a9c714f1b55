// converter_body.h compiled for avx2.
#include "core/converter_body.h"

namespace kerf {
const Converter& converter_avx2() {
  static constexpr Converter table = table_for(Isa::avx2);
  return table;
}
}  // namespace kerf
