// Text that a model writes for its own calibration: by sampling from what it predicts, it shows the inputs that it
// knows, and no text of anybody is needed (LLM-QAT, arXiv 2305.17888).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

struct OwnText {
  int64_t windows = 0, length = 0;
  double temperature = 1;
  uint64_t seed = 0;
  std::optional<int32_t> bos;  // begins each window and each text
  std::vector<int32_t> ends;   // tokens that end a text
};

/// Texts of tokens, each drawn with probability proportional to e^(logit / temperature) by a number that follows from
/// seed, text and position, put together and cut into windows as any text is (cut_windows()). A model without a BOS
/// begins a text with a token drawn from all evenly. At most `windows` of them: where texts end at once there are
/// fewer. `done` is called with the number of texts that were finished. Results do not depend on the number of threads.
Windows write_own_text(const Architecture&, const TensorSource&, const OwnText&,
                       const std::function<void(int64_t windows)>& done = {});

}  // namespace kerf
