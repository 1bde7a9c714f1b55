// Choosing among versions of the same thing for several instruction sets.
#pragma once

#include <span>

#include "core/cpu.h"

namespace kerf {

/// Of plug-ins with a member `isa`, one of which is for every CPU, the best that isa() allows.
template <class Plugin>
const Plugin& fastest(std::span<const Plugin* const> all) {
  const Plugin* best = nullptr;
  for (const Plugin* p : all)
    if (p->isa <= isa() && (!best || p->isa > best->isa)) best = p;
  return *best;
}

}  // namespace kerf
