#include "formats/shards.h"

#include "core/checked.h"

namespace kerf {

std::vector<Shard> cut_into_shards(const FilePlan& plan) {
  std::vector<Shard> shards(1);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const uint64_t bytes = plan.tensors[i].bytes;
    if (plan.shard_bytes != 0 && !shards.back().tensors.empty() &&
        (bytes > plan.shard_bytes || shards.back().bytes > plan.shard_bytes - bytes))
      shards.emplace_back();
    shards.back().tensors.push_back(i);
    shards.back().bytes = checked_add(shards.back().bytes, bytes, "the size of a shard");
  }
  return shards;
}

std::string shard_name(const std::string& name, size_t shard, size_t shards) {
  return shards == 1 ? name : fmt::format("{}-{:05}-of-{:05}", name, shard + 1, shards);
}

}  // namespace kerf
