// What `--distill` asks for: one training after the other.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

enum class DistillPhase {
  blocks,  // each block against the original's: scales and added offsets, norms, biases, and codes that are the nearest
           // ones (those of error feedback stay: moved one by one they lose what it gained, bench/RESULTS.md)
  scales,  // end to end against the original's logits: scales and added offsets, norms, biases
  codes,   // the same, and all codes
  full,    // the same, and plain matrices: all that the files hold
  lora,    // end to end: a low-rank adapter beside each matrix of a block, in a file of its own; all else stays
};

std::string_view name_of(DistillPhase);
/// In order. Error usage, with what there is, for other names, a phase named twice, and one behind lora.
std::vector<DistillPhase> parse_distill(std::span<const std::string>);

}  // namespace kerf
