// How a smaller model lies in the one it was made from: what pruning keeps, and what verification compares.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

/// Each list goes from the smaller model's index to the original's and is strictly increasing; an empty one is the
/// identity, for which both must be equally large.
struct Correspondence {
  std::vector<int64_t> layers;
  /// By the architecture's name of an axis ("hidden", "ffn", "head", "kv"): the channels that were kept, or the groups
  /// (heads) of an axis that has several. One list for all layers, or one for each layer of the smaller model, all of
  /// the same length.
  std::map<std::string, std::vector<std::vector<int64_t>>> axes;
  std::vector<int32_t> tokens;  // ids

  bool identity() const { return layers.empty() && axes.empty() && tokens.empty(); }
  /// The original's layer of the smaller one's.
  int64_t layer(int64_t smaller) const { return layers.empty() ? smaller : layers[static_cast<size_t>(smaller)]; }
  /// What of an axis a layer of the smaller model has kept (-1: what is outside of the layers); nullptr: all.
  const std::vector<int64_t>* kept(std::string_view axis, int64_t layer) const {
    const auto at = axes.find(std::string(axis));
    if (at == axes.end()) return nullptr;
    return &at->second[layer < 0 || at->second.size() == 1 ? 0 : static_cast<size_t>(layer)];
  }
};

}  // namespace kerf
