// A model run: the activations of all windows travel through the model block by block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/scratch.h"
#include "kernels/arithmetic.h"
#include "model/arch/architecture.h"
#include "model/run/weights.h"
#include "model/text/windows.h"

namespace kerf {

/// Holds the hidden state of every token, [tokens, hidden] float32, and the blocks' scratch for one batch of whole
/// windows of together about 1,024 tokens. The weights of one block are loaded while it runs. Rounding follows
/// `Arithmetic`: with `stream` at the model's dtype each step is rounded where Hugging Face's code does it in that
/// dtype:
///   norm        in float32, rounded, times the weight, rounded
///   linear      float32 sum and bias, rounded once
///   rope        sines and cosines, both products and their sum rounded
///   attention   its sums and softmax in float32 (probabilities rounded by `attention` only), its result rounded
///   gate        silu in float32, rounded, times the other, rounded
///   add         rounded
/// With `order` ggml, norm, rope, attention and gate take llama.cpp's steps (kernels/gguf/ggml_ops.h) instead.
/// Results do not depend on the number of threads. Error numerical, naming the layer, when a hidden state overflows.
class BlockwiseForward {
 public:
  /// Called after each linear of a block for each batch: its site, inputs [tokens, site.in] and outputs
  /// [tokens, site.out] with bias and rounding. Batches come in the order of the windows.
  using Observer = std::function<void(const Site&, const float* x, int64_t tokens, const float* y)>;

  /// Linears of one block that read the same activations, which all windows have reached. These may lie in a file
  /// (core/scratch.h): what goes over all of them calls leave() behind itself.
  struct Group {
    std::vector<Site> sites;
    std::vector<std::span<const float>> biases;  // of each site; empty where it has none
    const float* x = nullptr;                    // [tokens, sites[0].in]
    int64_t tokens = 0;
    const ScratchArray* memory = nullptr;  // of x
    /// The hidden state, [tokens, sites[0].out], when it is what the only site's outputs are added to next.
    const ScratchArray* states = nullptr;

    void leave(int64_t first, int64_t count) const {
      memory->leave(first * sites[0].in, count * sites[0].in);
      if (states) states->leave(first * sites[0].out, count * sites[0].out);
    }
  };
  /// What a run goes on with in place of a site.
  struct Replacement {
    std::unique_ptr<Linear> linear;
    std::vector<float> bias;  // empty where the site has none
  };
  /// Gives one per site.
  using Visit = std::function<std::vector<Replacement>(const Group&)>;

  /// Embeds the windows. The weights must outlive the pass, and so must `scratch`, which gives what is kept for all
  /// windows; the architecture is copied.
  BlockwiseForward(const Architecture&, WeightProvider&, Arithmetic, const Windows&, Scratch* scratch = nullptr);
  ~BlockwiseForward();
  BlockwiseForward(BlockwiseForward&&) noexcept;

  /// Blocks run in order: layer 0, 1, ... Error internal otherwise.
  void run_block(int64_t layer, const Observer& = {});
  /// The same, stopping before each group of linears until every window is there: what calibration needs. The
  /// activations that wait are held for all windows ([tokens, hidden] and [tokens, ffn] at most at a time). The
  /// pass's own matrices are not loaded.
  void run_block_in_groups(int64_t layer, const Visit&);
  /// The same in steps, for passes that run side by side: begin_groups(), then for each group next_group() and
  /// replace(), until there is none; the block is then complete.
  void begin_groups(int64_t layer);
  std::optional<Group> next_group();
  void replace(std::vector<Replacement>);
  /// Takes up a run that was left after `layer`, with the hidden() of then. Error bad_input for another size.
  void restore(int64_t layer, std::span<const float> hidden);
  /// The final norm, after the last block.
  void finish();
  /// What enters the head, once finish() was called.
  Group head_group() const;
  /// Everything that is left. `after_block` is called after each layer (progress).
  void run(const std::function<void(int64_t layer)>& after_block = {});

  /// [tokens, hidden]: what enters the next block, or the head once finish() was called.
  std::span<const float> hidden() const;
  bool finished() const;
  const Arithmetic& arithmetic() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// How many tokens' activations inside of a block are in memory at a time while run_block_in_groups() runs.
int64_t tokens_at_once(const Windows&);

}  // namespace kerf
