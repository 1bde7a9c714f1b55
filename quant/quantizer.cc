// The table of quantizers by their names.
#include "quant/quantizer.h"

#include <string>

#include "core/error.h"

namespace kerf {

const Quantizer& find_quantizer(std::string_view name) {
  std::string known;
  for (const Quantizer* q : all_quantizers()) {
    if (q->name() == name) return *q;
    known += known.empty() ? "" : ", ";
    known += q->name();
  }
  fail(ErrorKind::usage, "there is no method '{}'; the methods are: {}", name, known);
}

}  // namespace kerf
