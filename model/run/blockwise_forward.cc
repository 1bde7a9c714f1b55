// The pass over a model: hidden states of all windows go through one block after the other, in batches, or group by
// group of matrices. Slots become a few reused buffers (schedule.h); operations run in model/ops (block.h).
#include "model/run/blockwise_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/rows.h"
#include "model/run/block.h"

namespace kerf {
namespace {

// Enough rows to reuse each weight often (a product of 1,024 x 576 x 576 takes milliseconds, a task some microseconds),
// few enough that the scratch of a wide model stays bounded: 32 KiB x 1,024 = 32 MiB for a slot of 8,192 columns.
constexpr int64_t kBatchTokens = 1024;
// In run_block_in_groups() each worker takes its own batches through a segment, without waiting for the others and with
// its activations in its own cache: few tokens, but a whole panel of the dense products.
constexpr int64_t kTokensPerWorker = 256;

struct Batches {
  int64_t workers = 1, windows = 1;  // batches on their way at a time, and windows of each
};

int64_t windows_of(int64_t tokens, const Windows& all) {
  return std::clamp<int64_t>(tokens / std::max<int64_t>(1, all.length), 1, std::max<int64_t>(1, all.count));
}

// Of run_block_in_groups(). The same windows for any number of threads, so that products are cut the same way.
Batches batches_by_groups(const Windows& all) {
  const int64_t windows = windows_of(kTokensPerWorker, all);
  return {.workers = std::clamp<int64_t>(ceil_div(all.count, windows), 1, threads()), .windows = windows};
}

}  // namespace

struct BlockwiseForward::State {
  State(const Architecture& a, WeightProvider& w, Arithmetic ar, const Windows& windows, Scratch* given)
      : arch(a),
        weights(w),
        arithmetic(ar),
        count(windows.count),
        length(windows.length),
        batches{.workers = 1, .windows = windows_of(kBatchTokens, windows)},
        group_batches(batches_by_groups(windows)),
        scratch(given ? *given : own_scratch),
        hidden(scratch.floats(checked_mul(windows.tokens(), a.hidden(), "hidden states"))),
        width(a.hidden()) {
    if (length < 1 || static_cast<int64_t>(windows.ids.size()) != windows.tokens())
      fail(ErrorKind::internal, "{} ids for {} windows of {}", windows.ids.size(), count, length);
    check_arithmetic(arithmetic);
    check_ids(windows.ids, arch.vocab());
    for (const Ops& ops : arch.kinds) runners.emplace_back(arch, ops, arithmetic, length);
    embed(windows);
  }

  void embed(const Windows& windows) {
    const Ops scalings = arch.after_embedding();
    const OpRunner runner(arch, scalings, arithmetic, length);
    const BlockWeights own = load_ops(arch, weights, scalings, -1, false);
    for (int64_t w = 0; w < count; w += batches.windows) {
      const int64_t n = std::min(batches.windows, count - w), first = w * length, tokens = n * length;
      float* x = hidden.data() + first * width;
      weights.embed(std::span(windows.ids).subspan(static_cast<size_t>(first), static_cast<size_t>(tokens)), x);
      for_rows(tokens, [&](int64_t begin, int64_t end) {
        elementwise().round(x + begin * width, (end - begin) * width, rounding_of(arithmetic.stream));
      });
      runner.run(own, n, x);
      hidden.leave(first * width, tokens * width);
    }
  }

  const OpRunner& runner(int64_t layer) const { return runners[arch.kind_of_layer[static_cast<size_t>(layer)]]; }

  float* buffer(int index, int64_t first_window, int64_t worker = 0) {
    if (index == kHidden) return hidden.data() + first_window * length * width;
    const auto i = static_cast<size_t>(index);
    return buffers[i].data() +
           (whole[i] ? first_window : worker * group_batches.windows) * length * plan.slots[i].width;
  }
  // Takes a buffer that an earlier slot has left, if one is about as large: fresh memory costs a page fault every 4
  // KiB. Buffers of one batch are always in memory.
  void allocate(size_t i, int64_t tokens) {
    const int64_t size = checked_mul(tokens, plan.slots[i].width, "activations");
    for (ScratchArray& b : spare)
      if (b.size() >= size && b.size() / 2 < size && (whole[i] || !b.in_file())) {
        std::swap(buffers[i], b);
        return;
      }
    buffers[i] = (whole[i] ? scratch : own_scratch).floats(size);
  }
  void give_back(size_t i) {
    if (buffers[i].data()) spare.push_back(std::move(buffers[i]));
    std::erase_if(spare, [](const ScratchArray& b) { return !b.data(); });
  }
  // What these windows have in arrays that hold all windows will be needed when all others were there.
  void leave(int64_t first_window, int64_t windows) const {
    const int64_t first = first_window * length, tokens = windows * length;
    hidden.leave(first * width, tokens * width);
    for (size_t i = 0; i < buffers.size(); ++i)
      if (whole[i] && buffers[i].data()) buffers[i].leave(first * plan.slots[i].width, tokens * plan.slots[i].width);
  }
  void prepare_buffers(int64_t layer, bool reuse);
  void run_batches(const Batches&, const OpRunner&, const BlockWeights&, size_t begin, size_t end,
                   const Observer& = {});
  Group group_of(const Segment&);
  void run_segment(const Segment&);
  void begin_layer(int64_t layer);
  void end_layer(int64_t layer);
  void check(int64_t layer, int64_t first_window, int64_t windows);

  const Architecture arch;
  WeightProvider& weights;
  const Arithmetic arithmetic;
  std::vector<OpRunner> runners;  // of each kind of layer
  Schedule plan;                  // of the kind at hand
  int planned_kind = -1;
  const int64_t count, length;
  const Batches batches, group_batches;
  Scratch own_scratch, &scratch;
  ScratchArray hidden;  // [count, length, width]
  const int64_t width;
  std::vector<ScratchArray> buffers;  // one batch each (of every worker),
  std::vector<bool> whole;            // or all windows
  std::vector<ScratchArray> spare;
  int64_t next_layer = 0;
  bool finished = false;

  // A block that runs group by group.
  struct ByGroups {
    BlockWeights block;
    std::vector<Segment> segments;
    size_t at = 0;
  };
  std::optional<ByGroups> by_groups;
};

void BlockwiseForward::State::check(int64_t layer, int64_t first_window, int64_t windows) {
  const float* x = buffer(kHidden, first_window);
  for_rows(windows * length, [&](int64_t begin, int64_t end) {
    // NaN and infinity are what is not zero after multiplication with zero.
    float sum = 0;
    for (int64_t i = begin * width; i < end * width; ++i) sum += x[i] * 0.0F;
    if (sum == 0) return;
    for (int64_t i = begin * width; i < end * width; ++i)
      if (!std::isfinite(x[i]))
        fail(ErrorKind::numerical,
             "the hidden state is {} after layer {} (window {}, position {}, channel {}): weights too large for the "
             "arithmetic ({})",
             x[i], layer, first_window + i / width / length, i / width % length, i % width, name_of(arithmetic.stream));
  });
}

int64_t tokens_at_once(const Windows& windows) {
  const Batches b = batches_by_groups(windows);
  return b.workers * b.windows * windows.length;
}

BlockwiseForward::BlockwiseForward(const Architecture& a, WeightProvider& weights, Arithmetic arithmetic,
                                   const Windows& windows, Scratch* scratch)
    : state_(std::make_unique<State>(a, weights, arithmetic, windows, scratch)) {}
BlockwiseForward::~BlockwiseForward() = default;
BlockwiseForward::BlockwiseForward(BlockwiseForward&&) noexcept = default;

// Buffers for one batch, kept while layers are of one kind; or, without `reuse`, none yet.
void BlockwiseForward::State::prepare_buffers(int64_t layer, bool reuse) {
  const int kind = arch.kind_of_layer[static_cast<size_t>(layer)];
  if (reuse && !buffers.empty() && planned_kind == kind) return;
  plan = schedule(arch, arch.block(layer), reuse);
  planned_kind = reuse ? kind : -1;
  buffers.clear();
  buffers.resize(plan.slots.size());
  whole.assign(buffers.size(), false);
  if (!reuse) return;
  for (size_t i = 0; i < buffers.size(); ++i) allocate(i, batches.windows * length);
}

void BlockwiseForward::State::run_batches(const Batches& b, const OpRunner& runner, const BlockWeights& block,
                                          size_t begin, size_t end, const Observer& observer) {
  OpRunner::Observer of_matrix;
  if (observer)
    of_matrix = [&](size_t i, const float* x, int64_t tokens, const float* y) {
      observer(block.sites[i], x, tokens, y);
    };
  std::atomic<int64_t> next = 0;
  parallel_for(b.workers, [&](int64_t worker) {
    for (int64_t w; (w = next.fetch_add(b.windows)) < count;) {
      const int64_t windows = std::min(b.windows, count - w);
      runner.run(
          plan, block, begin, end, windows, [&](int i) { return buffer(i, w, worker); }, of_matrix);
      leave(w, windows);
    }
  });
}

void BlockwiseForward::State::begin_layer(int64_t layer) {
  if (finished || layer != next_layer || layer >= arch.layers())
    fail(ErrorKind::internal, "block {} was asked for where block {} of {} comes next", layer, next_layer,
         arch.layers());
}

void BlockwiseForward::State::end_layer(int64_t layer) {
  for (int64_t w = 0; w < count; w += batches.windows) {
    const int64_t windows = std::min(batches.windows, count - w);
    check(layer, w, windows);
    leave(w, windows);
  }
  ++next_layer;
}

BlockwiseForward::Group BlockwiseForward::State::group_of(const Segment& segment) {
  const Step& first = plan.steps[segment.begin];
  const int input = first.inputs[0];
  Group group{.x = buffer(input, 0),
              .tokens = count * length,
              .memory = input == kHidden ? &hidden : &buffers[static_cast<size_t>(input)]};
  if (segment.matrices == 1 && segment.begin + 1 < plan.steps.size()) {
    const Step& next = plan.steps[segment.begin + 1];
    const auto reads = [&](int slot) { return std::count(next.inputs.begin(), next.inputs.end(), slot) == 1; };
    if (next.op.as<Add>() && next.output == kHidden && reads(kHidden) && reads(first.output)) group.states = &hidden;
  }
  size_t matrix = 0;
  for (size_t i = 0; i < segment.begin; ++i) matrix += plan.steps[i].op.as<MatMul>() != nullptr;
  for (size_t i = 0; i < segment.matrices; ++i) {
    group.sites.push_back(by_groups->block.sites[matrix + i]);
    group.biases.push_back(by_groups->block.ops[segment.begin + i].bias);
  }
  return group;
}

void BlockwiseForward::State::run_segment(const Segment& segment) {
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    if (slot.first < segment.begin || slot.first >= segment.end) continue;
    whole[i] = slot.last >= segment.end;
    allocate(i, (whole[i] ? count : group_batches.workers * group_batches.windows) * length);
  }
  run_batches(group_batches, runner(next_layer), by_groups->block, segment.begin, segment.end);
  for (size_t i = 0; i < plan.slots.size(); ++i)
    if (plan.slots[i].last < segment.end) give_back(i);
}

void BlockwiseForward::run_block(int64_t layer, const Observer& observer) {
  State& s = *state_;
  s.begin_layer(layer);
  const BlockWeights block = load_block(s.arch, s.weights, layer);
  s.prepare_buffers(layer, true);
  s.run_batches(s.batches, s.runner(layer), block, 0, s.plan.steps.size(), observer);
  s.end_layer(layer);
}

void BlockwiseForward::begin_groups(int64_t layer) {
  State& s = *state_;
  s.begin_layer(layer);
  s.prepare_buffers(layer, false);
  s.by_groups = State::ByGroups{load_block(s.arch, s.weights, layer, false), segments_of(s.arch.block(layer))};
  s.run_segment(s.by_groups->segments[0]);
}

std::optional<BlockwiseForward::Group> BlockwiseForward::next_group() {
  State& s = *state_;
  if (++s.by_groups->at < s.by_groups->segments.size()) return s.group_of(s.by_groups->segments[s.by_groups->at]);
  s.by_groups.reset();
  s.buffers.clear();
  s.end_layer(s.next_layer);
  return std::nullopt;
}

void BlockwiseForward::replace(std::vector<Replacement> replacements) {
  State& s = *state_;
  const Segment& segment = s.by_groups->segments[s.by_groups->at];
  for (size_t i = 0; i < segment.matrices; ++i) {
    BlockWeights::OfOp& op = s.by_groups->block.ops[segment.begin + i];
    op.linear = std::move(replacements[i].linear);
    op.bias = std::move(replacements[i].bias);
  }
  s.run_segment(segment);
}

void BlockwiseForward::run_block_in_groups(int64_t layer, const Visit& visit) {
  begin_groups(layer);
  while (const std::optional<Group> group = next_group()) replace(visit(*group));
}

void BlockwiseForward::restore(int64_t layer, std::span<const float> hidden) {
  State& s = *state_;
  if (hidden.size() != this->hidden().size() || layer >= s.arch.layers())
    fail(ErrorKind::bad_input, "{} hidden states after layer {} were saved, and this run has {} and {} layers",
         hidden.size(), layer, this->hidden().size(), s.arch.layers());
  std::copy(hidden.begin(), hidden.end(), s.hidden.data());
  s.leave(0, s.count);
  s.next_layer = layer + 1;
}

void BlockwiseForward::finish() {
  State& s = *state_;
  if (s.finished || s.next_layer != s.arch.layers())
    fail(ErrorKind::internal, "what follows the last block was asked for after {} of {} blocks", s.next_layer,
         s.arch.layers());
  // On hidden states: what comes before the head.
  const Ops ops(s.arch.after.begin(), s.arch.after.begin() + static_cast<std::ptrdiff_t>(s.arch.head_at()));
  const OpRunner runner(s.arch, ops, s.arithmetic, s.length);
  const BlockWeights own = load_ops(s.arch, s.weights, ops, -1, false);
  s.buffers.clear();
  for (int64_t w = 0; w < s.count; w += s.batches.windows) {
    const int64_t windows = std::min(s.batches.windows, s.count - w);
    runner.run(own, windows, s.buffer(kHidden, w));
    s.leave(w, windows);
  }
  s.finished = true;
}

BlockwiseForward::Group BlockwiseForward::head_group() const {
  const State& s = *state_;
  if (!s.finished) fail(ErrorKind::internal, "the head's inputs were asked for before the final norm");
  return {.sites = {s.arch.head()},
          .biases = {{}},
          .x = s.hidden.data(),
          .tokens = s.count * s.length,
          .memory = &s.hidden};
}

void BlockwiseForward::run(const std::function<void(int64_t)>& after_block) {
  while (state_->next_layer < state_->arch.layers()) {
    const int64_t layer = state_->next_layer;
    run_block(layer);
    if (after_block) after_block(layer);
  }
  if (!state_->finished) finish();
}

std::span<const float> BlockwiseForward::hidden() const {
  return {state_->hidden.data(), static_cast<size_t>(state_->count * state_->length * state_->width)};
}
bool BlockwiseForward::finished() const { return state_->finished; }
const Arithmetic& BlockwiseForward::arithmetic() const { return state_->arithmetic; }

}  // namespace kerf
