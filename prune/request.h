// What is asked to be pruned: the values of `--prune`, parsed.
//
//   depth=2          2 blocks go
//   ffn=0.75         of the channels of the MLP 75 % stay; heads= and hidden= (the residual stream) likewise
//   vocab=FILE       of the tokens those stay that the text needs; vocab=32000: so many, the most frequent of
//                    calibration
//   params=0.7       70 % of the parameters stay, bytes=60MB: files of this size; kerf chooses among these
//   2:4              2 of every 4 neighbouring weights become zero
//   sparsity=0.5     half of the weights become zero
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prune/sparsity.h"

namespace kerf {

struct PruneRequest {
  int64_t depth = 0;                          // blocks that go
  double ffn = 1, heads = 1, hidden = 1;      // shares that stay
  std::vector<std::string> vocabulary_texts;  // files
  int64_t vocabulary = 0;                     // tokens that stay; 0: as many as the texts need
  double params = 1;                          // share that stays
  uint64_t bytes = 0;                         // of the files of weights; 0: no size was asked for
  std::optional<Sparsity> sparsity;

  bool masks() const { return sparsity.has_value(); }
  bool trims_vocabulary() const { return vocabulary > 0 || !vocabulary_texts.empty(); }
  /// The shape is chosen for a size.
  bool sized() const { return params < 1 || bytes > 0; }
  /// Blocks, channels or heads go.
  bool structural() const { return depth > 0 || ffn < 1 || heads < 1 || hidden < 1 || sized(); }
  /// The shape changes.
  bool reshapes() const { return structural() || trims_vocabulary(); }
  bool any() const { return reshapes() || masks(); }
};

/// Whether the value asks for a size, for which the shape is chosen: params=, bytes=.
bool asks_for_size(std::string_view);

/// The file of vocab=FILE, "" for any other value.
std::string vocabulary_text(std::string_view);

/// One list for all; texts of vocab= add up. Error usage, with what is allowed, for what is none of the above and for
/// two values of one thing.
PruneRequest parse_prune(std::span<const std::string>);

}  // namespace kerf
