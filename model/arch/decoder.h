// What the decoders on the hub have in common, for families to build their lists from: axes of the usual names, and
// operations with their weights named as checkpoint and GGUF name them.
#pragma once

#include <string>
#include <vector>

#include "model/arch/architecture.h"
#include "model/arch/config_reader.h"

namespace kerf {

/// Starts an architecture with the axes hidden, ffn, head, kv and vocab.
class DecoderBuilder {
 public:
  DecoderBuilder(std::string family, std::string gguf_name, const Dimensions&);

  /// A matrix of the blocks, "model.layers.{}.<checkpoint>.weight" and "blk.{}.<role>.weight".
  Op linear(const char* role, const char* input, const char* output, const char* in, const char* out,
            const std::string& checkpoint, bool bias = false, const char* fused = "") const;
  /// A root-mean-square norm of the blocks over all of an axis, or each of its groups.
  struct NormStyle {
    double eps = 1e-6;
    float plus = 0;  // 1: the checkpoint's weight w acts as 1 + w, and GGUF stores 1 + w
    bool round_before_weight = true;
  };
  Op norm(const char* role, const char* input, const char* output, const std::string& checkpoint, NormStyle,
          const char* axis = "hidden", bool per_group = false) const;
  Op rope(const char* slot, const char* axis, RopeTable, int64_t rotated) const;
  Op attend(Attend) const;          // q, k, v -> heads
  Op gate(Activation) const;        // gate, up -> gated
  Op add(const char* other) const;  // to the residual stream
  /// embedding, final norm, head; `tied` and the rest of the architecture are the caller's.
  Op embed() const;
  Op final_norm(NormStyle) const;
  Op head() const;

  Architecture a;

 private:
  AxisId id(const char* name) const { return a.axis_named(name); }
};

/// q and k rows of GGUF's llama: pairs side by side.
void interleave(Op& linear);

/// The numbers that an architecture built this way was built from.
Dimensions dimensions_of(const Architecture&);
/// The first operation of that type of the first kind of layers that has one; nullptr when there is none.
template <class T>
const T* first_of(const Architecture& a) {
  for (const Ops& ops : a.kinds)
    for (const Op& op : ops)
      if (const T* t = op.as<T>()) return t;
  return nullptr;
}
/// The matrix of that role; Error internal when there is none.
const MatMul& matrix_of(const Architecture&, std::string_view role);
/// The common keys of config.json: what read_dimensions() reads.
void write_dimensions(const Architecture&, nlohmann::ordered_json&);
bool has_bias(const Architecture&, std::string_view role);

/// layer_types of a config ("full_attention", "sliding_attention"): whether each layer has a window. Error bad_input
/// for another length or other words. nullopt when the key is absent.
std::optional<std::vector<uint8_t>> read_layer_types(const ConfigReader&, int64_t layers);
nlohmann::ordered_json write_layer_types(const Architecture&);
/// Whether a layer has a window.
bool is_windowed(const Architecture&, int64_t layer);

/// ArchitectureFamily::hub_refuses of families whose config transformers takes only with a hidden_size that is a
/// multiple of the number of heads, although head_dim says how wide these are (5.x: Llama, Gemma 2 and 3).
std::string refuses_uneven_heads(const Architecture&);

/// The attention of a block; Error internal when it has none.
const Attend& attend_of(const Ops&);

}  // namespace kerf
