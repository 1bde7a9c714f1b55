// How a smaller model lies in the one it was made from: what pruning keeps, and what verification compares.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

/// Beside the weights of a packed model that is smaller than its original. docs/correspondence.md describes it.
inline constexpr std::string_view kCorrespondenceFile = "kerf-correspondence.json";

/// Each list goes from the packed model's index to the original's and is strictly increasing; an empty one is the
/// identity, for which both must be equally large.
struct Correspondence {
  std::vector<int64_t> layers;
  /// By the architecture's name of an axis ("hidden", "ffn", "head", "kv"): the channels that were kept, or the groups
  /// (heads) of an axis that has several.
  std::map<std::string, std::vector<int64_t>> axes;
  std::vector<int32_t> tokens;  // ids

  bool identity() const { return layers.empty() && axes.empty() && tokens.empty(); }
  /// The original's layer of the packed one's.
  int64_t layer(int64_t packed) const { return layers.empty() ? packed : layers[static_cast<size_t>(packed)]; }
};

/// That of a packed folder, or of the folder of a file; the identity when there is none. Error bad_input for a file
/// that is damaged or holds lists that do not increase.
Correspondence read_correspondence(const std::filesystem::path& packed);

/// A model's shape with the words to call it.
struct NamedShape {
  std::string name;
  const Architecture& architecture;
};

/// Error bad_input, naming both shapes, where the two differ and the correspondence does not say how: number of layers,
/// sizes of axes, their groups and the size of one, vocabulary; or where it names what the original does not have.
void check_correspondence(const Correspondence&, const NamedShape& original, const NamedShape& packed);

/// The same windows in the packed model's ids. Error bad_input, naming the token, when one was not kept.
Windows to_packed_ids(const Correspondence&, const Windows& original, int64_t original_vocab);
/// The other way; always possible. Error bad_input for an id that the packed model does not have.
Windows to_original_ids(const Correspondence&, const Windows& packed);

}  // namespace kerf
