// The element types of GGUF tensors: how many weights share a block and how many bytes a block takes.
// Source: ggml.h (ids) and ggml-common.h (block structs) of llama.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kerf {

struct GgmlType {
  uint32_t id = 0;
  std::string_view name;    // as gguf-py spells it: "Q4_K"
  int64_t block = 0;        // weights per block; 0 for an id that llama.cpp has withdrawn
  int64_t block_bytes = 0;  // bytes per block

  bool withdrawn() const { return block == 0; }
};

/// Ids 0 to 42, in order.
std::span<const GgmlType> ggml_types();
/// nullptr when there is no such type.
const GgmlType* find_ggml_type(uint32_t id);
const GgmlType* find_ggml_type(std::string_view name);

/// Bytes of a tensor of this shape (slowest dimension first; an empty shape is one element). Error bad_input when the
/// last dimension does not divide into blocks or the size overflows; `what` names the tensor in the sentence.
uint64_t ggml_bytes(const GgmlType&, std::span<const int64_t> shape, std::string_view what);

}  // namespace kerf
