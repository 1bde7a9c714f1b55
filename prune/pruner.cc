#include "prune/pruner.h"

#include "core/error.h"

namespace kerf {

const Pruner& find_pruner(std::string_view name) {
  std::string known;
  for (const Pruner* p : all_pruners()) {
    if (p->name() == name) return *p;
    known += (known.empty() ? "" : ", ") + std::string(p->name());
  }
  fail(ErrorKind::usage, "there is no pruning method '{}'; there is {}, and each of them with +refit", name, known);
}

}  // namespace kerf
