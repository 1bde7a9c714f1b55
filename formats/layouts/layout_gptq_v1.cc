#include "formats/layouts/layout_gptq.h"

namespace kerf {

const Layout& layout_gptq_v1() {
  static const GptqLayout layout(1);
  return layout;
}

}  // namespace kerf
