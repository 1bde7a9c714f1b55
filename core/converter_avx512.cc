// converter_body.h compiled for avx512.
#include "core/converter_body.h"

namespace kerf {
const Converter& converter_avx512() {
  static constexpr Converter table = table_for(Isa::avx512);
  return table;
}
}  // namespace kerf
