#include "formats/layout.h"

#include "core/error.h"

namespace kerf {

const Layout& find_layout(std::string_view name) {
  for (const Layout* l : all_layouts())
    if (l->name() == name) return *l;
  fail(ErrorKind::internal, "there is no layout '{}'", name);
}

}  // namespace kerf
