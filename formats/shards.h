// How the tensors of a plan are distributed over files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/container.h"

namespace kerf {

struct Shard {
  std::vector<size_t> tensors;  // of the plan
  uint64_t bytes = 0;           // of these tensors
};

/// In the order of the plan: a tensor that would pass the plan's shard_bytes opens the next shard. At least one shard.
std::vector<Shard> cut_into_shards(const FilePlan&);

/// "NAME-00001-of-00003"; NAME itself when there is but one.
std::string shard_name(const std::string& name, size_t shard, size_t shards);

}  // namespace kerf
