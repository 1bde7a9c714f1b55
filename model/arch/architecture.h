// A model as data: axes, and lists of operations over named activations. Parameters stand on the operations; layers are
// of kinds, each with a list of its own; embedding, scalings, final norm, head and caps are operations as well. The
// forward pass, folds, planning, container names and checks walk these lists; none of them knows a family by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"

namespace kerf {

/// What one dimension of an activation or a weight counts: `size` numbers in `groups` equal groups (heads).
struct Axis {
  std::string name;  // "hidden" "ffn" "head" "kv" "vocab"
  int64_t size = 0;
  int64_t groups = 1;
  int64_t group_size() const { return size / groups; }
};
/// Index into Architecture::axes.
using AxisId = size_t;

/// How one kind of file stores a weight. Value = stored number + plus.
struct StoredAs {
  std::string tensor;  // "{}" stands for the layer; "": the format has no name for it
  int64_t row_begin = 0,
          row_end = -1;      // these rows of the tensor; -1: to its end (all others: a part of a fused tensor)
  float plus = 0;            // 1 where a norm's weight w acts as 1 + w
  bool interleaved = false;  // pairs (i, i + n/2) of each group of rows lie side by side: (2i, 2i + 1)
  bool transposed = false;   // [in, out] instead of [out, in]
};

/// A weight of one operation: a matrix over two axes [out, in], or a vector over one group or all of an axis.
struct Param {
  std::string role;            // names it to people and recipes: "attn_q"
  std::vector<int64_t> shape;  // [out, in] or [n]
  StoredAs checkpoint, gguf;   // full tensor names, ".weight" and ".bias" included
};

/// out = weight * normalised in (+ bias); each group of the axis is normalised by itself where `per_group` says so.
struct Norm {
  enum class Kind {
    rms,    // in / sqrt(mean(in^2) + eps)
    layer,  // (in - mean(in)) / sqrt(mean((in - mean(in))^2) + eps)
  };
  Kind kind = Kind::rms;
  double eps = 1e-6;
  bool per_group = false;
  /// In arithmetic below float32: the normalised number is rounded before it meets the weight (Llama), or after
  /// (Gemma).
  bool round_before_weight = true;
  Param weight;
  std::optional<Param> bias = std::nullopt;
};

/// out = weight . in (+ bias)
struct MatMul {
  AxisId in = 0;
  Param weight;
  std::optional<Param> bias = std::nullopt;
  std::string fused = {};  // those with the same mark ("qkv", "gate_up") share an input, and runtimes fuse them
};

enum class RopeScaling { none, linear, llama3, yarn };

/// Frequencies of rotary position embedding: unscaled theta^(-2i / rotated), i < rotated / 2.
struct RopeTable {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;                                 // linear, llama3, yarn: divides (low) frequencies
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3: wavelengths above original/low are divided by factor,
  int64_t original_context = 8192;                   // below original/high are kept, between are blended
  double beta_fast = 32, beta_slow = 1;              // yarn: turns over the original context that bound the blend,
  bool truncate = true;                              // with its ends rounded outward to whole pairs,
  double attention_factor = 1;                       // and what sines and cosines are multiplied by
  std::vector<float> divisors = {};                  // when not empty: what divides the frequency of each pair first
  bool operator==(const RopeTable&) const = default;
};

/// out = in with the first `rotated` numbers of each group turned by their position: (i, i + rotated/2) are a pair.
struct Rope {
  RopeTable table;
  int64_t rotated = 0;

  /// Angle of one position step for each pair, [rotated / 2], in the float32 steps of the Hugging Face code.
  std::vector<float> frequencies() const;
  /// What divides the unscaled frequencies for each pair (1 without scaling): GGUF's rope_freqs.weight.
  std::vector<float> divisors() const;
};

/// inputs q, k, v: causal softmax attention, query heads (groups of q's axis) in equal shares over those of k and v.
/// Position t sees s <= t with t - s < window.
struct Attend {
  AxisId kv = 0;
  int64_t window = 0;  // 0: everything before
  double scale = 1;    // of the scores
  double softcap = 0;  // c tanh(score / c); 0: none
  /// llama.cpp multiplies the rotated queries by the scale before it rounds them, and not the scores.
  bool ggml_scales_queries = false;
  bool ggml_interleaved = false;  // GGUF holds the pairs of a head of q and k side by side
};

enum class Activation { silu, gelu_tanh };

/// out = f(in[0]) * in[1], or f(in[0]) of one input.
struct Activate {
  Activation f = Activation::silu;
};
/// out = in * by
struct Scale {
  double by = 1;
  bool round_factor = true;  // to the type of the model before the product
};
/// out = at * tanh(in / at)
struct Cap {
  double at = 0;
};
/// out = in[0] + in[1]
struct Add {};
/// out = row of the weight for each token id
struct Embed {
  Param weight;
};

/// One operation. Activations ("slots") have names; the slot "x" is the residual stream and enters and leaves a block.
struct Op {
  std::variant<Embed, Norm, MatMul, Rope, Attend, Activate, Scale, Cap, Add> what;
  std::vector<std::string> inputs;  // slots read
  std::string output;               // slot written; may be one of the inputs for those that work in place
  AxisId axis = 0;                  // of the output

  template <class T>
  const T* as() const {
    return std::get_if<T>(&what);
  }
};
using Ops = std::vector<Op>;

/// Where in the model a matrix stands, for rules that treat the vocabulary apart.
enum class SitePlace { block, embedding, head };

/// One matrix of the model, in one place.
struct Site {
  std::string role;    // "attn_q", ...: as in Param
  int64_t layer = -1;  // -1 outside of the blocks
  std::string name;    // what it is called everywhere in kerf: the checkpoint's tensor
  std::string bias;    // the checkpoint's bias tensor, or ""
  int64_t out = 0, in = 0;
  std::string fused;  // as in MatMul
  std::string gguf;   // its name in GGUF; "" where llama.cpp has none
  SitePlace place = SitePlace::block;
  AxisId out_axis = 0, in_axis = 0;
};

/// A weight of one layer, names filled in.
struct ExpectedTensor {
  std::string name;            // in the checkpoint
  std::vector<int64_t> shape;  // of the weight
  std::string gguf;            // "": none
  float plus = 0, gguf_plus = 0;
  int64_t interleaved = 0;  // rows of a group whose pairs GGUF holds side by side; 0: the same order
  StoredAs stored;          // in the checkpoint, the name filled in
};

struct Architecture {
  std::string family;     // the plug-in: "llama"
  std::string gguf_name;  // general.architecture; "" where llama.cpp has no such model
  std::vector<Axis> axes;
  Ops before;                          // from token ids to "x"
  std::vector<Ops> kinds;              // of layers
  std::vector<uint8_t> kind_of_layer;  // index into kinds
  Ops after;                           // from "x" to "logits"; the head is the only MatMul in it
  int64_t context = 0;                 // longest sequence the model was made for
  bool tied = false;                   // the head is the embedding matrix
  Dtype dtype = Dtype::f32;            // the type that the model computes in, by its config
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;

  int64_t layers() const { return static_cast<int64_t>(kind_of_layer.size()); }
  const Ops& block(int64_t layer) const { return kinds[kind_of_layer[static_cast<size_t>(layer)]]; }
  const Axis& axis(AxisId id) const { return axes[id]; }
  /// Error internal when there is none of that name.
  AxisId axis_named(std::string_view name) const;
  int64_t hidden() const { return axes[before.front().axis].size; }
  /// What follows the rows of the embedding, before the first block.
  Ops after_embedding() const { return {before.begin() + 1, before.end()}; }
  int64_t vocab() const { return before.front().as<Embed>()->weight.shape[0]; }
  /// The widest activation inside of any block.
  int64_t widest() const;

  /// The matrices of a block in the order in which they run.
  std::vector<Site> block_sites(int64_t layer) const;
  Site embedding() const;
  /// The embedding's site when tied.
  Site head() const;
  /// Every tensor of one layer; with layer == -1 those outside the blocks.
  std::vector<ExpectedTensor> expected_tensors(int64_t layer) const;
  /// The head's place in `after`; Error internal when there is none.
  size_t head_at() const;
  /// What checkpoints call the head's own matrix, which a tied model may hold besides.
  std::string head_matrix() const;
};

/// A pattern with the layer filled in.
std::string tensor_name(std::string_view pattern, int64_t layer);
/// What a weight of a layer is called everywhere in kerf: the checkpoint's tensor, and which rows where it is a part.
std::string weight_name(const Param&, int64_t layer);
/// The site that an operation's matrix is.
Site site_of(const Architecture&, const Op&, int64_t layer);

/// Positions of the matrices in `ops` that read the same activations and run one after the other: what is calibrated
/// together, and what one scaling of the input concerns.
std::vector<std::vector<size_t>> input_groups(const Ops& ops);

/// Error bad_input, naming the tensor and both shapes, when one is missing (with what is there instead) or has the
/// wrong shape. Of tensors that the architecture does not use, those known to change nothing are left out with a note;
/// Error unsupported, naming them, for all others.
void check_tensors(const Architecture&, const TensorSource&);

}  // namespace kerf
