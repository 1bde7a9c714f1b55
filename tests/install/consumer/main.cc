#include <cstdio>

#include "core/version.h"
#include "targets/target.h"

int main() {
  for (const kerf::Target* target : kerf::all_targets())
    std::printf("kerf %.*s knows %.*s\n", static_cast<int>(kerf::version().size()), kerf::version().data(),
                static_cast<int>(target->name().size()), target->name().data());
}
