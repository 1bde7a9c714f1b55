// Where files name tokens by id.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

namespace kerf {

/// The position of an old id among those that are kept (strictly increasing); nullopt for one that is gone.
std::optional<int32_t> new_id(std::span<const int32_t> kept, int64_t id);

/// Ids that a config.json or generation_config.json needs: those of renumbered_ids() (prune/vocabulary.h) but for lists
/// of what must not be generated, which lose nothing with a token that is gone.
std::vector<int64_t> named_ids(const nlohmann::ordered_json& config);

}  // namespace kerf
