// Reading codes out of packed words where they lie in a file, code by code: slow to look at and hard to get wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "core/checked.h"
#include "core/dtype.h"
#include "formats/container.h"

namespace kerf {

/// A tensor of 32-bit little-endian words [rows, cols].
struct WordMatrix {
  const std::byte* bytes = nullptr;
  int64_t rows = 0, cols = 0;
  uint32_t at(int64_t r, int64_t c) const {
    uint32_t word;
    std::memcpy(&word, bytes + (r * cols + c) * 4, 4);
    return word;
  }
};

/// Bits [first, first + bits) of a stream whose word number j is word(j); bits <= 8.
template <class Word>
uint32_t stream_code(int64_t first, int bits, const Word& word) {
  const int64_t j = first / 32;
  const int shift = static_cast<int>(first % 32);
  uint64_t two = word(j);
  if (shift + bits > 32) two |= static_cast<uint64_t>(word(j + 1)) << 32;
  return static_cast<uint32_t>(two >> shift) & ((1u << bits) - 1);
}

/// Numbers [rows, cols] in F32, F16 or BF16.
struct FloatMatrix {
  const std::byte* bytes = nullptr;
  Dtype type = Dtype::f32;
  int64_t rows = 0, cols = 0;
  float at(int64_t r, int64_t c) const {
    const int64_t i = r * cols + c;
    if (type == Dtype::f32) {
      float x;
      std::memcpy(&x, bytes + i * 4, 4);
      return x;
    }
    uint16_t half;
    std::memcpy(&half, bytes + i * 2, 2);
    return type == Dtype::f16 ? f16_to_f32(half) : bf16_to_f32(half);
  }
};

/// Whether a tensor is a matrix of the type; nullopt when it is not.
inline std::optional<WordMatrix> word_matrix(const StoredTensor& t) {
  if ((t.type != "I32" && t.type != "U32") || t.shape.size() != 2) return std::nullopt;
  return WordMatrix{t.bytes.data(), t.shape[0], t.shape[1]};
}
inline std::optional<FloatMatrix> float_matrix(const StoredTensor& t) {
  const auto type = dtype_from_name(t.type);
  if (!type || (*type != Dtype::f32 && *type != Dtype::f16 && *type != Dtype::bf16) || t.shape.size() != 2)
    return std::nullopt;
  return FloatMatrix{t.bytes.data(), *type, t.shape[0], t.shape[1]};
}

/// Words that a stream of n codes takes.
inline int64_t words_for(int64_t n, int bits, std::string_view what) {
  return ceil_div(checked_mul<int64_t>(n, bits, what), int64_t{32});
}

/// The name without `suffix`; nullopt when it does not end in it.
inline std::optional<std::string> stem_of(const std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return std::nullopt;
  return name.substr(0, name.size() - suffix.size());
}

}  // namespace kerf
