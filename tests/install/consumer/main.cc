#include <kerf/core/version.h>
#include <kerf/targets/target.h>
#include <cstdio>

int main() {
  for (const kerf::Target* target : kerf::all_targets())
    std::printf("kerf %.*s knows %.*s\n", static_cast<int>(kerf::version().size()), kerf::version().data(),
                static_cast<int>(target->name().size()), target->name().data());
}
