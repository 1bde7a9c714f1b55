#include "formats/layouts/layout.h"

#include <algorithm>

#include "core/error.h"

namespace kerf {

std::vector<LayoutTensor> Layout::expect(const Scheme& s, int64_t rows, int64_t cols,
                                         std::span<const std::span<const std::byte>> tensors) const {
  std::vector<LayoutTensor> expected = plan(s, rows, cols);
  if (!std::equal(tensors.begin(), tensors.end(), expected.begin(), expected.end(),
                  [](const auto& t, const LayoutTensor& e) { return t.size() == e.bytes; }))
    fail(ErrorKind::bad_input, "the packed tensors are not as long as a [{}, {}] matrix of {} needs", rows, cols,
         describe(s));
  return expected;
}

const Layout& find_layout(std::string_view name) {
  for (const Layout* l : all_layouts())
    if (l->name() == name) return *l;
  fail(ErrorKind::internal, "there is no layout '{}'", name);
}

}  // namespace kerf
