// The interpreter of Architecture::block. Slots become a few reused buffers; each operation runs over a whole batch of
// windows before the next, so that the products are large and a batch's activations stay near the caches.
#include "model/run/blockwise_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/attention.h"
#include "model/ops/ggml_attention.h"

namespace kerf {
namespace {

// Enough rows to reuse each weight often (a product of 1,024 x 576 x 576 takes milliseconds, a task some microseconds),
// few enough that the scratch of a wide model stays bounded: 32 KiB x 1,024 = 32 MiB for a slot of 8,192 columns.
constexpr int64_t kBatchTokens = 1024;
// In run_block_in_groups() each thread takes its own batches through a segment, without waiting for the others and with
// its activations in its own cache: few tokens, but a whole panel of the dense products.
constexpr int64_t kLaneTokens = 256;
constexpr int64_t kRowsPerTask = 16;
constexpr int kHidden = -1;  // the buffer number of the slot "x"

struct Step {
  Op op;
  std::vector<int> inputs;
  int output = kHidden;
};

// A buffer of activations.
struct Slot {
  int64_t width = 0;           // of one token
  size_t first = 0, last = 0;  // steps that write it first and read it last
};

struct Schedule {
  std::vector<Step> steps;
  std::vector<Slot> slots;
};

/// True when `slot`, as it is after step i, is read later.
bool read_after(const std::vector<Op>& ops, size_t i, const std::string& slot) {
  for (size_t j = i + 1; j < ops.size(); ++j) {
    if (std::count(ops[j].inputs.begin(), ops[j].inputs.end(), slot)) return true;
    if (ops[j].output == slot) return false;
  }
  return false;
}

// Buffers are used again when what they held is no longer read, unless `reuse` is false.
Schedule schedule(const Architecture& a, bool reuse) {
  Schedule s;
  std::map<std::string, int> at = {{"x", kHidden}};
  std::vector<int> free;
  for (size_t i = 0; i < a.block.size(); ++i) {
    const Op& op = a.block[i];
    Step step{.op = op, .inputs = {}, .output = kHidden};
    for (const std::string& slot : op.inputs) {
      if (!at.count(slot))
        fail(ErrorKind::internal, "{}: an operation reads the slot {} before it is written", a.family, slot);
      step.inputs.push_back(at[slot]);
    }
    const bool in_place = std::count(op.inputs.begin(), op.inputs.end(), op.output) > 0;
    const bool may_overwrite = op.kind == OpKind::gate && !read_after(a.block, i, op.inputs[0]);
    if (in_place) {
      step.output = at[op.output];
    } else if (may_overwrite) {
      step.output = step.inputs[0];
    } else if (reuse && !free.empty()) {
      step.output = free.back();
      free.pop_back();
    } else {
      step.output = static_cast<int>(s.slots.size());
      s.slots.push_back({.first = i});
    }
    if (step.output != kHidden) {
      Slot& slot = s.slots[static_cast<size_t>(step.output)];
      slot.width = std::max(slot.width, a.axis(op.out));
      slot.last = i;
    }
    for (const int input : step.inputs)
      if (input != kHidden) s.slots[static_cast<size_t>(input)].last = i;
    for (const std::string& slot : op.inputs) {
      if (read_after(a.block, i, slot) || !at.count(slot) || at[slot] == kHidden) continue;
      if (at[slot] != step.output) free.push_back(at[slot]);
      at.erase(slot);
    }
    at[op.output] = step.output;
    s.steps.push_back(std::move(step));
  }
  return s;
}

struct Batches {
  int64_t lanes = 1, windows = 1;  // batches on their way at a time, and windows of each
};

int64_t windows_of(int64_t tokens, const Windows& all) {
  return std::clamp<int64_t>(tokens / std::max<int64_t>(1, all.length), 1, std::max<int64_t>(1, all.count));
}

// Of run_block_in_groups(). The same windows for any number of threads, so that products are cut the same way.
Batches batches_by_groups(const Windows& all) {
  const int64_t windows = windows_of(kLaneTokens, all);
  return {.lanes = std::clamp<int64_t>(ceil_div(all.count, windows), 1, threads()), .windows = windows};
}

/// f(first row, last row) over tasks of a few rows.
template <class F>
void for_rows(int64_t rows, F&& f) {
  parallel_for(ceil_div(rows, kRowsPerTask),
               [&](int64_t i) { f(i * kRowsPerTask, std::min(rows, (i + 1) * kRowsPerTask)); });
}

// Steps between two points where every window has to arrive: each but the first begins with linears that read the same
// buffer.
struct Segment {
  size_t begin = 0, end = 0;  // steps
  size_t linears = 0;         // how many it begins with
};

std::vector<Segment> segments_of(const Schedule& s) {
  std::vector<Segment> segments = {{}};
  for (size_t i = 0; i < s.steps.size(); ++i) {
    const Step& step = s.steps[i];
    Segment& now = segments.back();
    if (step.op.kind == OpKind::linear) {
      const bool joins = i == now.begin + now.linears && now.linears > 0 && step.inputs == s.steps[now.begin].inputs;
      if (!joins) {
        now.end = i;
        segments.push_back({.begin = i, .linears = 0});
      }
      ++segments.back().linears;
    }
  }
  segments.back().end = s.steps.size();
  return segments;
}

/// What one layer needs while it runs.
struct Block {
  std::vector<Site> sites;
  std::vector<std::unique_ptr<Linear>> linears;  // in the order of the sites
  std::vector<std::vector<float>> biases;        // empty where there is none
  std::vector<std::vector<float>> norms;         // in the order of the norm operations
};

Block load_block(const Architecture& a, WeightProvider& weights, int64_t layer, bool with_linears) {
  Block b;
  b.sites = a.block_sites(layer);
  for (const Site& site : b.sites) {
    b.linears.push_back(with_linears ? weights.linear(site) : nullptr);
    b.biases.push_back(site.bias.empty() ? std::vector<float>{} : weights.vector(site.bias));
    if (!site.bias.empty() && static_cast<int64_t>(b.biases.back().size()) != site.out)
      fail(ErrorKind::bad_input, "tensor {} has {} elements, not {}", site.bias, b.biases.back().size(), site.out);
  }
  for (const Op& op : a.block) {
    if (op.kind != OpKind::norm) continue;
    const std::string name = a.checkpoint_name(op.role, layer);
    b.norms.push_back(weights.vector(name));
    if (static_cast<int64_t>(b.norms.back().size()) != a.axis(op.out))
      fail(ErrorKind::bad_input, "tensor {} has {} elements, not {}", name, b.norms.back().size(), a.axis(op.out));
  }
  return b;
}

}  // namespace

struct BlockwiseForward::State {
  State(const Architecture& a, WeightProvider& w, Arithmetic ar, const Windows& windows, Scratch* given)
      : arch(a),
        weights(w),
        arithmetic(ar),
        rounding(rounding_of(ar.stream)),
        attention_rounding(rounding_of(ar.attention)),
        ops(elementwise()),
        ggml(ar.order == SumOrder::ggml ? &ggml_ops() : nullptr),
        count(windows.count),
        length(windows.length),
        batches{.lanes = 1, .windows = windows_of(kBatchTokens, windows)},
        group_batches(batches_by_groups(windows)),
        scratch(given ? *given : own_scratch),
        hidden(scratch.floats(checked_mul(windows.tokens(), arch.hidden, "hidden states"))) {
    if (length < 1 || static_cast<int64_t>(windows.ids.size()) != windows.tokens())
      fail(ErrorKind::internal, "{} ids for {} windows of {}", windows.ids.size(), count, length);
    if (ggml && (ar.stream != Dtype::f32 || ar.attention != Dtype::f16 || ar.fused_attention))
      fail(ErrorKind::internal, "llama.cpp's order of sums goes with a float32 stream and attention in F16 only");
    check_ids(windows.ids, arch.vocab);
    for (int64_t w = 0; w < count; w += batches.windows) {
      const int64_t first = w * length, tokens = std::min(batches.windows, count - w) * length;
      float* x = hidden.data() + first * arch.hidden;
      weights.embed(std::span(windows.ids).subspan(static_cast<size_t>(first), static_cast<size_t>(tokens)), x);
      for_rows(tokens, [&](int64_t begin, int64_t end) {
        ops.round(x + begin * arch.hidden, (end - begin) * arch.hidden, rounding);
      });
      hidden.leave(first * arch.hidden, tokens * arch.hidden);
    }
    if (ggml) {
      ggml_rope_tables(arch, length, cosines, sines);
      return;
    }
    const std::vector<float> frequencies = arch.rope_frequencies();
    for (int64_t t = 0; t < length; ++t)
      for (float f : frequencies) {
        const float angle = static_cast<float>(t) * f;
        cosines.push_back(std::cos(angle));
        sines.push_back(std::sin(angle));
      }
    ops.round(cosines.data(), static_cast<int64_t>(cosines.size()), rounding);
    ops.round(sines.data(), static_cast<int64_t>(sines.size()), rounding);
  }

  float* buffer(int index, int64_t first_window, int64_t lane = 0) {
    if (index == kHidden) return hidden.data() + first_window * length * arch.hidden;
    const auto i = static_cast<size_t>(index);
    return buffers[i].data() + (whole[i] ? first_window : lane * group_batches.windows) * length * plan.slots[i].width;
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
    hidden.leave(first * arch.hidden, tokens * arch.hidden);
    for (size_t i = 0; i < buffers.size(); ++i)
      if (whole[i] && buffers[i].data()) buffers[i].leave(first * plan.slots[i].width, tokens * plan.slots[i].width);
  }
  void run_steps(const Block&, size_t begin, size_t end, int64_t first_window, int64_t windows, const Observer&,
                 int64_t lane);
  void run_batches(const Batches&, const Block&, size_t begin, size_t end, const Observer& = {});
  size_t first_linear(const Segment&) const;
  Group group_of(const Segment&);
  void run_segment(const Block&, const Segment&);
  void begin_layer(int64_t layer);
  void end_layer(int64_t layer);
  void norm(const float* x, const std::vector<float>& weight, float* out, int64_t tokens);
  void linear(const Linear&, const std::vector<float>& bias, const float* x, float* y, int64_t tokens);
  void check(int64_t layer, int64_t first_window, int64_t windows);

  const Architecture arch;
  WeightProvider& weights;
  const Arithmetic arithmetic;
  const Rounding rounding, attention_rounding;
  const Elementwise& ops;
  const GgmlOps* ggml;  // what takes the place of some of them; nullptr when sums may take any order
  Schedule plan;
  const int64_t count, length;
  const Batches batches, group_batches;
  Scratch own_scratch, &scratch;
  ScratchArray hidden;                // [count, length, arch.hidden]
  std::vector<float> cosines, sines;  // [length, head_dim / 2]
  std::vector<ScratchArray> buffers;  // one batch each (of every lane),
  std::vector<bool> whole;            // or all windows
  std::vector<ScratchArray> spare;
  int64_t next_layer = 0;
  bool finished = false;

  // A block that runs group by group.
  struct ByGroups {
    Block block;
    std::vector<Segment> segments;
    size_t at = 0;
  };
  std::optional<ByGroups> by_groups;
};

void BlockwiseForward::State::norm(const float* x, const std::vector<float>& weight, float* out, int64_t tokens) {
  const auto n = static_cast<int64_t>(weight.size());
  const auto eps = static_cast<float>(arch.norm_eps);
  for_rows(tokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      if (ggml) {
        ggml->rms_norm(x + t * n, weight.data(), out + t * n, n, eps);
      } else {
        ops.rms_norm(x + t * n, weight.data(), out + t * n, n, eps, rounding);
      }
    }
  });
}

void BlockwiseForward::State::linear(const Linear& matrix, const std::vector<float>& bias, const float* x, float* y,
                                     int64_t tokens) {
  matrix.apply(x, tokens, 0, matrix.out, y, matrix.out);
  if (bias.empty() && rounding == Rounding::none) return;
  for_rows(tokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = y + t * matrix.out;
      if (bias.empty()) {
        ops.round(row, matrix.out, rounding);
      } else {
        ops.add(row, bias.data(), matrix.out, rounding);
      }
    }
  });
}

void BlockwiseForward::State::run_steps(const Block& block, size_t begin, size_t end, int64_t first_window,
                                        int64_t windows, const Observer& observer, int64_t lane) {
  const int64_t tokens = windows * length;
  size_t linears = 0, norms = 0;
  for (size_t i = 0; i < end; ++i) {
    const Step& step = plan.steps[i];
    const Op& op = step.op;
    if (i < begin) {
      linears += op.kind == OpKind::linear;
      norms += op.kind == OpKind::norm;
      continue;
    }
    const float* x = buffer(step.inputs[0], first_window, lane);
    float* y = buffer(step.output, first_window, lane);
    const int64_t width = arch.axis(op.out);
    switch (op.kind) {
      case OpKind::norm:
        norm(x, block.norms[norms++], y, tokens);
        break;
      case OpKind::linear: {
        linear(*block.linears[linears], block.biases[linears], x, y, tokens);
        if (observer) observer(block.sites[linears], x, tokens, y);
        ++linears;
        break;
      }
      case OpKind::rope:
        for_rows(tokens, [&](int64_t begin, int64_t end) {
          const int64_t half = arch.head_dim / 2;
          if (x != y) std::copy_n(x + begin * width, (end - begin) * width, y + begin * width);
          for (int64_t t = begin; t < end; ++t) {
            const float *c = cosines.data() + t % length * half, *s = sines.data() + t % length * half;
            if (ggml) {
              ggml->rotate(y + t * width, width / arch.head_dim, half, c, s);
            } else {
              ops.rotate(y + t * width, width / arch.head_dim, half, c, s, rounding);
            }
          }
        });
        break;
      case OpKind::attention: {
        const AttentionShape shape{.windows = windows,
                                   .length = length,
                                   .heads = arch.heads,
                                   .kv_heads = arch.kv_heads,
                                   .head_dim = arch.head_dim,
                                   .scale = static_cast<float>(arch.attention_scale),
                                   .fused = arithmetic.fused_attention,
                                   .rounding = attention_rounding};
        const float *k = buffer(step.inputs[1], first_window, lane), *v = buffer(step.inputs[2], first_window, lane);
        if (ggml) {
          ggml_causal_attention(shape, arch.permute_qk_for_gguf, x, k, v, y);
        } else {
          causal_attention(shape, x, k, v, y);
        }
        if (rounding != Rounding::none)
          for_rows(tokens,
                   [&](int64_t begin, int64_t end) { ops.round(y + begin * width, (end - begin) * width, rounding); });
        break;
      }
      case OpKind::gate: {
        const float* up = buffer(step.inputs[1], first_window, lane);
        for_rows(tokens, [&](int64_t begin, int64_t end) {
          const int64_t at = begin * width, n = (end - begin) * width;
          if (ggml) {
            ggml->silu_gate(x + at, up + at, y + at, n);
          } else {
            ops.silu_gate(x + at, up + at, y + at, n, rounding);
          }
        });
        break;
      }
      case OpKind::add: {
        const float* other = buffer(step.inputs[1], first_window, lane);
        for_rows(tokens, [&](int64_t begin, int64_t end) {
          if (x != y) std::copy_n(x + begin * width, (end - begin) * width, y + begin * width);
          ops.add(y + begin * width, other + begin * width, (end - begin) * width, rounding);
        });
        break;
      }
    }
  }
}

void BlockwiseForward::State::check(int64_t layer, int64_t first_window, int64_t windows) {
  const float* x = buffer(kHidden, first_window);
  for_rows(windows * length, [&](int64_t begin, int64_t end) {
    // NaN and infinity are what is not zero after multiplication with zero.
    float sum = 0;
    for (int64_t i = begin * arch.hidden; i < end * arch.hidden; ++i) sum += x[i] * 0.0F;
    if (sum == 0) return;
    for (int64_t i = begin * arch.hidden; i < end * arch.hidden; ++i)
      if (!std::isfinite(x[i]))
        fail(ErrorKind::numerical,
             "the hidden state is {} after layer {} (window {}, position {}, channel {}): weights too large for the "
             "arithmetic ({})",
             x[i], layer, first_window + i / arch.hidden / length, i / arch.hidden % length, i % arch.hidden,
             name_of(arithmetic.stream));
  });
}

int64_t tokens_at_once(const Windows& windows) {
  const Batches b = batches_by_groups(windows);
  return b.lanes * b.windows * windows.length;
}

BlockwiseForward::BlockwiseForward(const Architecture& a, WeightProvider& weights, Arithmetic arithmetic,
                                   const Windows& windows, Scratch* scratch)
    : state_(std::make_unique<State>(a, weights, arithmetic, windows, scratch)) {}
BlockwiseForward::~BlockwiseForward() = default;
BlockwiseForward::BlockwiseForward(BlockwiseForward&&) noexcept = default;

void BlockwiseForward::State::run_batches(const Batches& b, const Block& block, size_t begin, size_t end,
                                          const Observer& observer) {
  std::atomic<int64_t> next = 0;
  parallel_for(b.lanes, [&](int64_t lane) {
    for (int64_t w; (w = next.fetch_add(b.windows)) < count;) {
      const int64_t windows = std::min(b.windows, count - w);
      run_steps(block, begin, end, w, windows, observer, lane);
      leave(w, windows);
    }
  });
}

void BlockwiseForward::State::begin_layer(int64_t layer) {
  if (finished || layer != next_layer || layer >= arch.layers)
    fail(ErrorKind::internal, "block {} was asked for where block {} of {} comes next", layer, next_layer, arch.layers);
}

void BlockwiseForward::State::end_layer(int64_t layer) {
  for (int64_t w = 0; w < count; w += batches.windows) {
    const int64_t windows = std::min(batches.windows, count - w);
    check(layer, w, windows);
    leave(w, windows);
  }
  ++next_layer;
}

size_t BlockwiseForward::State::first_linear(const Segment& segment) const {
  size_t first = 0;
  for (size_t i = 0; i < segment.begin; ++i) first += plan.steps[i].op.kind == OpKind::linear;
  return first;
}

BlockwiseForward::Group BlockwiseForward::State::group_of(const Segment& segment) {
  const size_t first = first_linear(segment);
  const int input = plan.steps[segment.begin].inputs[0];
  Group group{.x = buffer(input, 0),
              .tokens = count * length,
              .memory = input == kHidden ? &hidden : &buffers[static_cast<size_t>(input)]};
  if (const Step& next = plan.steps[segment.begin + 1]; segment.linears == 1 && next.op.kind == OpKind::add) {
    const auto reads = [&](int slot) { return std::count(next.inputs.begin(), next.inputs.end(), slot) == 1; };
    if (next.output == kHidden && reads(kHidden) && reads(plan.steps[segment.begin].output)) group.states = &hidden;
  }
  for (size_t i = first; i < first + segment.linears; ++i) {
    group.sites.push_back(by_groups->block.sites[i]);
    group.biases.push_back(by_groups->block.biases[i]);
  }
  return group;
}

void BlockwiseForward::State::run_segment(const Block& block, const Segment& segment) {
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    if (slot.first < segment.begin || slot.first >= segment.end) continue;
    whole[i] = slot.last >= segment.end;
    allocate(i, (whole[i] ? count : group_batches.lanes * group_batches.windows) * length);
  }
  run_batches(group_batches, block, segment.begin, segment.end);
  for (size_t i = 0; i < plan.slots.size(); ++i)
    if (plan.slots[i].last < segment.end) give_back(i);
}

void BlockwiseForward::run_block(int64_t layer, const Observer& observer) {
  State& s = *state_;
  s.begin_layer(layer);
  const Block block = load_block(s.arch, s.weights, layer, true);
  if (s.buffers.empty()) {
    s.plan = schedule(s.arch, true);
    s.buffers.resize(s.plan.slots.size());
    s.whole.assign(s.buffers.size(), false);
    for (size_t i = 0; i < s.buffers.size(); ++i) s.allocate(i, s.batches.windows * s.length);
  }
  s.run_batches(s.batches, block, 0, s.plan.steps.size(), observer);
  s.end_layer(layer);
}

void BlockwiseForward::begin_groups(int64_t layer) {
  State& s = *state_;
  s.begin_layer(layer);
  s.plan = schedule(s.arch, false);
  s.buffers.clear();
  s.buffers.resize(s.plan.slots.size());
  s.whole.assign(s.buffers.size(), false);
  s.by_groups = State::ByGroups{load_block(s.arch, s.weights, layer, false), segments_of(s.plan)};
  s.run_segment(s.by_groups->block, s.by_groups->segments[0]);
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
  Block& block = s.by_groups->block;
  const size_t first = s.first_linear(segment);
  for (size_t i = 0; i < segment.linears; ++i) {
    block.linears[first + i] = std::move(replacements[i].linear);
    block.biases[first + i] = std::move(replacements[i].bias);
  }
  s.run_segment(block, segment);
}

void BlockwiseForward::run_block_in_groups(int64_t layer, const Visit& visit) {
  begin_groups(layer);
  while (const std::optional<Group> group = next_group()) replace(visit(*group));
}

void BlockwiseForward::restore(int64_t layer, std::span<const float> hidden) {
  State& s = *state_;
  if (hidden.size() != this->hidden().size() || layer >= s.arch.layers)
    fail(ErrorKind::bad_input, "{} hidden states after layer {} were saved, and this run has {} and {} layers",
         hidden.size(), layer, this->hidden().size(), s.arch.layers);
  std::copy(hidden.begin(), hidden.end(), s.hidden.data());
  s.leave(0, s.count);
  s.next_layer = layer + 1;
}

void BlockwiseForward::finish() {
  State& s = *state_;
  if (s.finished || s.next_layer != s.arch.layers)
    fail(ErrorKind::internal, "the final norm was asked for after {} of {} blocks", s.next_layer, s.arch.layers);
  const std::vector<float> weight = s.weights.vector(s.arch.checkpoint_name(s.arch.final_norm_role));
  if (static_cast<int64_t>(weight.size()) != s.arch.hidden)
    fail(ErrorKind::bad_input, "the final norm has {} elements, not {}", weight.size(), s.arch.hidden);
  for (int64_t w = 0; w < s.count; w += s.batches.windows) {
    const int64_t windows = std::min(s.batches.windows, s.count - w);
    float* x = s.buffer(kHidden, w);
    s.norm(x, weight, x, windows * s.length);
    s.leave(w, windows);
  }
  s.buffers.clear();
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
  while (state_->next_layer < state_->arch.layers) {
    const int64_t layer = state_->next_layer;
    run_block(layer);
    if (after_block) after_block(layer);
  }
  if (!state_->finished) finish();
}

std::span<const float> BlockwiseForward::hidden() const {
  return {state_->hidden.data(), static_cast<size_t>(state_->count * state_->length * state_->arch.hidden)};
}
bool BlockwiseForward::finished() const { return state_->finished; }
const Arithmetic& BlockwiseForward::arithmetic() const { return state_->arithmetic; }

}  // namespace kerf
