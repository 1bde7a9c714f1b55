// What GGUF files of decoders have in common: keys, and the scaling of rotary positions.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "model/arch/family.h"

namespace kerf {

/// In the order in which kerf writes them; `rope.freq_base` is the last.
inline constexpr std::array<GgufKey, 11> kGgufDecoderKeys = {{
    {"block_count", "/num_hidden_layers"},
    {"context_length", "/max_position_embeddings"},
    {"embedding_length", "/hidden_size"},
    {"feed_forward_length", "/intermediate_size"},
    {"attention.head_count", "/num_attention_heads"},
    {"attention.head_count_kv", "/num_key_value_heads", GgufKey::Type::size, GgufKey::Need::optional},
    {"attention.key_length", "/head_dim", GgufKey::Type::size, GgufKey::Need::optional},
    {"attention.value_length", "/head_dim", GgufKey::Type::size, GgufKey::Need::must_equal},
    {"attention.layer_norm_rms_epsilon", "/rms_norm_eps", GgufKey::Type::number},
    {"rope.dimension_count", "/head_dim", GgufKey::Type::size, GgufKey::Need::must_equal},
    {"rope.freq_base", "/rope_theta", GgufKey::Type::number, GgufKey::Need::optional},
}};

/// <architecture>.rope.scaling.*: what llama.cpp does to the frequencies of the layers that scale.
void write_gguf_rope(const Architecture&, const RopeTable&, GgufKeys&);
/// The same as the object of a config ({"rope_type": ...}); null where nothing is scaled. Older files have
/// rope.scale_linear for rope.scaling.factor; a factor without a type is linear. A warning names what llama.cpp does
/// not read of these families.
nlohmann::json read_gguf_rope(const GgufFacts&, std::string_view architecture);
/// Why llama.cpp would turn otherwise by the keys of write_gguf_rope(); "": it would not.
std::string gguf_rope_refuses(const RopeTable&);

/// Whether the file has this tensor.
inline bool has_tensor(const GgufFacts& file, const char* name) { return file.shape(name) != nullptr; }

}  // namespace kerf
