// A model as data: its dimensions, one block as a list of operations over named activations and axes, and what each
// tensor is called. The forward pass, folds, container writers and checks walk this one description.
//
// A family of architectures (Llama, ...) is a plug-in: one file architecture_<name>.cc that defines
// `const ArchitectureFamily& architecture_<name>()`.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"

namespace kerf {

/// What an operation of a block computes, token by token except for attention.
enum class OpKind {
  norm,       // out = in / sqrt(mean(in^2) + norm_eps) * weight            (RMSNorm)
  linear,     // out = weight . in (+ bias)
  rope,       // out = in with each head rotated by its position: (h, h + head_dim/2) are a pair
  attention,  // inputs q, k, v: causal softmax attention within a window, scores times attention_scale
  gate,       // out = silu(in[0]) * in[1]
  add,        // out = in[0] + in[1]
};

/// What one dimension of an activation or a weight counts; sizes are Architecture::axis().
enum class Axis { hidden, ffn, head, kv, vocab };  // head = heads x head_dim, kv = kv_heads x head_dim

/// One operation. Activations ("slots") have names; the slot "x" enters and leaves the block (the residual stream).
struct Op {
  OpKind kind = OpKind::linear;
  std::string role;                 // names the weight, see Architecture::names; "" when there is none
  std::vector<std::string> inputs;  // slots read
  std::string output;               // slot written; may be one of the inputs for rope and add
  Axis in = Axis::hidden, out = Axis::hidden;
  bool bias = false;
  std::string fused = {};  // linears with the same mark ("qkv", "gate_up") share an input, and runtimes fuse them
};

/// One matrix of the model, in one place.
struct Site {
  std::string role;    // "attn_q" "attn_k" "attn_v" "attn_output" "ffn_gate" "ffn_up" "ffn_down" "token_embd" "output"
  int64_t layer = -1;  // -1 for the embedding and the head
  std::string name;    // the checkpoint's tensor, "model.layers.0.self_attn.q_proj.weight"
  std::string bias;    // the checkpoint's bias tensor, or ""
  int64_t out = 0, in = 0;
  std::string fused;  // as in Op
};

/// Names of the tensors of one role, without ".weight" / ".bias"; "{}" stands for the layer.
struct RoleName {
  std::string role, checkpoint, gguf;
};

enum class RopeScaling { none, linear, llama3 };

/// Rotary position embedding. Frequencies of the unscaled form are theta^(-2i / head_dim), i < head_dim / 2.
struct Rope {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;                                 // linear, llama3: divides (low) frequencies
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3: wavelengths above original/low are divided by factor,
  int64_t original_context = 8192;                   // below original/high are kept, between are blended
  std::vector<float> divisors = {};                  // when not empty: what divides the frequency of each pair, instead
};

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

struct Architecture {
  std::string family;     // "llama": the plug-in
  std::string gguf_name;  // general.architecture
  int64_t hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  int64_t context = 0;  // longest sequence the model was made for
  double norm_eps = 1e-6;
  double attention_scale = 0;  // 1 / sqrt(head_dim)
  Rope rope;
  bool tied = false;         // the head is the embedding matrix
  Dtype dtype = Dtype::f32;  // the type that the model computes in, by its config
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;
  bool permute_qk_for_gguf = false;  // GGUF wants the pairs of a head side by side (2i, 2i + 1) in attn_q and attn_k

  std::vector<Op> block;  // the same for every layer
  std::string embedding_role = "token_embd", head_role = "output", final_norm_role = "output_norm";
  std::vector<RoleName> names;  // of every role above

  int64_t axis(Axis) const;
  /// The linears of a block in the order in which they run.
  std::vector<Site> block_sites(int64_t layer) const;
  Site embedding() const;
  /// The embedding's site when tied.
  Site head() const;
  /// Tensor names with their suffix: ".weight" unless `suffix` says otherwise. Error internal for an unknown role.
  std::string checkpoint_name(std::string_view role, int64_t layer = -1, std::string_view suffix = ".weight") const;
  std::string gguf_tensor_name(std::string_view role, int64_t layer = -1, std::string_view suffix = ".weight") const;
  /// Every tensor of one layer; with layer == -1 those outside the blocks.
  std::vector<ExpectedTensor> expected_tensors(int64_t layer) const;

  /// Angle of one position step for each pair of a head, [head_dim / 2], in the float32 steps of the Hugging Face code.
  std::vector<float> rope_frequencies() const;
  /// What divides the unscaled frequencies for each pair (1 without scaling): GGUF's rope_freqs.weight.
  std::vector<float> rope_divisors() const;
};

struct ArchitectureFamily {
  std::string_view name;
  std::span<const std::string_view> model_types;    // config.json "model_type"
  std::span<const std::string_view> architectures;  // config.json "architectures"
  Architecture (*describe)(const nlohmann::json& config);
};

std::span<const ArchitectureFamily* const> all_architectures();

/// From a parsed config.json. Error unsupported for an unknown architecture (the known are listed) or a feature that
/// the family has and kerf does not; Error bad_input for missing or wrong keys, each named.
Architecture describe_architecture(const nlohmann::json& config);

/// Error bad_input, naming the tensor, when one is missing or has the wrong shape; a warning for tensors that the
/// architecture does not use.
void check_tensors(const Architecture&, const TensorSource&);

}  // namespace kerf
