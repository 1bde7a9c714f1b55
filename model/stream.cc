// The interpreter of Architecture::block. Slots become a few reused buffers; each operation runs over a whole batch of
// windows before the next, so that the products are large and a batch's activations stay near the caches.
#include "model/stream.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "model/attention.h"
#include "model/elementwise_choice.h"
#include "model/ggml_attention.h"

namespace kerf {
namespace {

// Enough rows to reuse each weight often (a product of 1,024 x 576 x 576 takes milliseconds, a task some microseconds),
// few enough that the scratch of a wide model stays bounded: 32 KiB x 1,024 = 32 MiB for a slot of 8,192 columns.
constexpr int64_t kBatchTokens = 1024;
constexpr int64_t kRowsPerTask = 16;
constexpr int kHidden = -1;  // the buffer number of the slot "x"

struct Step {
  Op op;
  std::vector<int> inputs;
  int output = kHidden;
};

struct Schedule {
  std::vector<Step> steps;
  std::vector<int64_t> widths;  // of each buffer
};

/// True when `slot`, as it is after step i, is read later.
bool read_after(const std::vector<Op>& ops, size_t i, const std::string& slot) {
  for (size_t j = i + 1; j < ops.size(); ++j) {
    if (std::count(ops[j].inputs.begin(), ops[j].inputs.end(), slot)) return true;
    if (ops[j].output == slot) return false;
  }
  return false;
}

Schedule schedule(const Architecture& a) {
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
    } else if (!free.empty()) {
      step.output = free.back();
      free.pop_back();
    } else {
      step.output = static_cast<int>(s.widths.size());
      s.widths.push_back(0);
    }
    if (step.output != kHidden) {
      int64_t& width = s.widths[static_cast<size_t>(step.output)];
      width = std::max(width, a.axis(op.out));
    }
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

/// f(first row, last row) over tasks of a few rows.
template <class F>
void for_rows(int64_t rows, F&& f) {
  parallel_for(ceil_div(rows, kRowsPerTask),
               [&](int64_t i) { f(i * kRowsPerTask, std::min(rows, (i + 1) * kRowsPerTask)); });
}

/// What one layer needs while it runs.
struct Block {
  std::vector<Site> sites;
  std::vector<std::unique_ptr<Linear>> linears;  // in the order of the sites
  std::vector<std::vector<float>> biases;        // empty where there is none
  std::vector<std::vector<float>> norms;         // in the order of the norm operations
};

Block load_block(const Architecture& a, Weights& weights, int64_t layer) {
  Block b;
  b.sites = a.block_sites(layer);
  for (const Site& site : b.sites) {
    b.linears.push_back(weights.linear(site));
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

struct Stream::State {
  State(const Architecture& a, Weights& w, Arithmetic ar, const Windows& windows)
      : arch(a),
        weights(w),
        arithmetic(ar),
        rounding(rounding_of(ar.stream)),
        attention_rounding(rounding_of(ar.attention)),
        ops(elementwise()),
        ggml(ar.order == SumOrder::ggml ? &ggml_ops() : nullptr),
        plan(schedule(arch)),
        count(windows.count),
        length(windows.length),
        batch_windows(std::clamp<int64_t>(kBatchTokens / std::max<int64_t>(1, length), 1, std::max<int64_t>(1, count))),
        hidden(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(windows.tokens() * arch.hidden))) {
    if (length < 1 || static_cast<int64_t>(windows.ids.size()) != windows.tokens())
      fail(ErrorKind::internal, "{} ids for {} windows of {}", windows.ids.size(), count, length);
    if (ggml && (ar.stream != Dtype::f32 || ar.attention != Dtype::f16 || ar.fused_attention))
      fail(ErrorKind::internal, "llama.cpp's order of sums goes with a float32 stream and attention in F16 only");
    check_ids(windows.ids, arch.vocab);
    weights.embed(windows.ids, hidden.get());
    for_rows(windows.tokens(), [&](int64_t begin, int64_t end) {
      ops.round(hidden.get() + begin * arch.hidden, (end - begin) * arch.hidden, rounding);
    });
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

  float* buffer(int index, int64_t first_window) {
    return index == kHidden ? hidden.get() + first_window * length * arch.hidden
                            : buffers[static_cast<size_t>(index)].get();
  }
  void run_batch(const Block&, int64_t first_window, int64_t windows, const Observer&);
  void norm(const float* x, const std::vector<float>& weight, float* out, int64_t tokens);
  void linear(const Linear&, const std::vector<float>& bias, const float* x, float* y, int64_t tokens);
  void check(int64_t layer, int64_t first_window, int64_t windows);

  const Architecture arch;
  Weights& weights;
  const Arithmetic arithmetic;
  const Rounding rounding, attention_rounding;
  const Elementwise& ops;
  const GgmlOps* ggml;  // what takes the place of some of them; nullptr when sums may take any order
  const Schedule plan;
  const int64_t count, length, batch_windows;
  std::unique_ptr<float[]> hidden;                // [count, length, arch.hidden]
  std::vector<float> cosines, sines;              // [length, head_dim / 2]
  std::vector<std::unique_ptr<float[]>> buffers;  // one batch each
  int64_t next_layer = 0;
  bool finished = false;
};

void Stream::State::norm(const float* x, const std::vector<float>& weight, float* out, int64_t tokens) {
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

void Stream::State::linear(const Linear& matrix, const std::vector<float>& bias, const float* x, float* y,
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

void Stream::State::run_batch(const Block& block, int64_t first_window, int64_t windows, const Observer& observer) {
  const int64_t tokens = windows * length;
  size_t linears = 0, norms = 0;
  for (const Step& step : plan.steps) {
    const Op& op = step.op;
    const float* x = buffer(step.inputs[0], first_window);
    float* y = buffer(step.output, first_window);
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
        const float *k = buffer(step.inputs[1], first_window), *v = buffer(step.inputs[2], first_window);
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
        const float* up = buffer(step.inputs[1], first_window);
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
        const float* other = buffer(step.inputs[1], first_window);
        for_rows(tokens, [&](int64_t begin, int64_t end) {
          if (x != y) std::copy_n(x + begin * width, (end - begin) * width, y + begin * width);
          ops.add(y + begin * width, other + begin * width, (end - begin) * width, rounding);
        });
        break;
      }
    }
  }
}

void Stream::State::check(int64_t layer, int64_t first_window, int64_t windows) {
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

Stream::Stream(const Architecture& a, Weights& weights, Arithmetic arithmetic, const Windows& windows)
    : state_(std::make_unique<State>(a, weights, arithmetic, windows)) {}
Stream::~Stream() = default;
Stream::Stream(Stream&&) noexcept = default;

void Stream::run_block(int64_t layer, const Observer& observer) {
  State& s = *state_;
  if (s.finished || layer != s.next_layer || layer >= s.arch.layers)
    fail(ErrorKind::internal, "block {} of {} was run when {} was next", layer, s.arch.layers, s.next_layer);
  const Block block = load_block(s.arch, s.weights, layer);
  if (s.buffers.empty())
    for (int64_t width : s.plan.widths)
      s.buffers.push_back(std::make_unique_for_overwrite<float[]>(
          static_cast<size_t>(checked_mul(s.batch_windows * s.length, width, "activations"))));
  for (int64_t w = 0; w < s.count; w += s.batch_windows) {
    const int64_t windows = std::min(s.batch_windows, s.count - w);
    s.run_batch(block, w, windows, observer);
    s.check(layer, w, windows);
  }
  ++s.next_layer;
}

void Stream::finish() {
  State& s = *state_;
  if (s.finished || s.next_layer != s.arch.layers)
    fail(ErrorKind::internal, "the final norm was asked for after {} of {} blocks", s.next_layer, s.arch.layers);
  const std::vector<float> weight = s.weights.vector(s.arch.checkpoint_name(s.arch.final_norm_role));
  if (static_cast<int64_t>(weight.size()) != s.arch.hidden)
    fail(ErrorKind::bad_input, "the final norm has {} elements, not {}", weight.size(), s.arch.hidden);
  s.norm(s.hidden.get(), weight, s.hidden.get(), s.count * s.length);
  s.buffers.clear();
  s.finished = true;
}

void Stream::run(const std::function<void(int64_t)>& after_block) {
  while (state_->next_layer < state_->arch.layers) {
    const int64_t layer = state_->next_layer;
    run_block(layer);
    if (after_block) after_block(layer);
  }
  if (!state_->finished) finish();
}

std::span<const float> Stream::hidden() const {
  return {state_->hidden.get(), static_cast<size_t>(state_->count * state_->length * state_->arch.hidden)};
}
bool Stream::finished() const { return state_->finished; }
const Arithmetic& Stream::arithmetic() const { return state_->arithmetic; }

}  // namespace kerf
