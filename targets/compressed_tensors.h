// The quantization_config that describes a repository in the formats of compressed-tensors.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "targets/target.h"

namespace kerf {

/// One config group per scheme: the one that most matrices have takes every "Linear", the others list their modules by
/// name; modules left in plain numbers are ignored. A repository of several formats is "mixed-precision".
/// Needs at least one packed site, each by a layout named "ct-...".
nlohmann::ordered_json compressed_tensors_config(std::span<const StoredSite>);

}  // namespace kerf
