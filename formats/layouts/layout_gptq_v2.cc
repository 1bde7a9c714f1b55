#include "formats/layouts/layout_gptq.h"

namespace kerf {

const Layout& layout_gptq_v2() {
  static const GptqLayout layout(2);
  return layout;
}

}  // namespace kerf
