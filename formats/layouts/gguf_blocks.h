// What the GGUF block types have in common: a row is a sequence of blocks of 32 (or 256) weights, each with its own
// scales, and a matrix is its rows one after the other.
#pragma once

#include <cstring>

#include "core/checked.h"
#include "formats/ggml_type.h"
#include "formats/layouts/layout.h"

namespace kerf {

/// A layout whose blocks hold `block` weights in `bytes` bytes: derived classes write and read one block.
/// `Block` gives: static constexpr int64_t kWeights, kBytes; static void pack(const uint8_t* codes, const std::byte*
/// const* params, std::byte* out); static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params),
/// where params[i] are the block's bytes of the scheme's i-th level.
template <class Block>
class GgufBlockLayout : public Layout {
 public:
  GgufBlockLayout(std::string_view layout_name, std::string_view type, Scheme scheme)
      : name_(layout_name), type_(type), scheme_(std::move(scheme)) {
    for (const Level& level : scheme_.levels)
      each_.push_back(bytes_of(level.stored, Block::kWeights / level.block.cols));
  }

  std::string_view name() const override { return name_; }
  std::vector<Scheme> examples() const override { return {scheme_}; }

  std::optional<std::string> refuses(const Scheme& s, int64_t, int64_t cols) const override {
    if (s != scheme_) return fmt::format("{} holds {}, not {}", type_, describe(scheme_), describe(s));
    if (cols % Block::kWeights != 0)
      return fmt::format("{} stores blocks of {} weights, and a row of {} does not divide into them", type_,
                         Block::kWeights, cols);
    return std::nullopt;
  }

  std::vector<LayoutTensor> plan(const Scheme&, int64_t rows, int64_t cols) const override {
    const uint64_t row_bytes = static_cast<uint64_t>(cols / Block::kWeights * Block::kBytes);
    return {{.suffix = "weight",
             .type = std::string(type_),
             .shape = {rows, cols},
             .bytes = row_bytes * static_cast<uint64_t>(rows),
             .row_bytes = row_bytes}};
  }

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    const int64_t blocks = q.rows * q.cols / Block::kWeights;
    std::vector<std::byte> out(static_cast<size_t>(blocks * Block::kBytes));
    std::vector<const std::byte*> params(q.params.size());
    for (int64_t b = 0; b < blocks; ++b) {
      for (size_t i = 0; i < params.size(); ++i) params[i] = q.params[i].bytes.data() + b * each_[i];
      Block::pack(q.codes.data() + b * Block::kWeights, params.data(), out.data() + b * Block::kBytes);
    }
    return {std::move(out)};
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    QuantizedMatrix q = allocate(s, rows, cols);
    const int64_t blocks = rows * cols / Block::kWeights;
    if (tensors.size() != 1 || tensors[0].size() != static_cast<size_t>(blocks * Block::kBytes))
      fail(ErrorKind::bad_input, "{} bytes do not hold a [{}, {}] matrix of {}",
           tensors.empty() ? 0 : tensors[0].size(), rows, cols, type_);
    std::vector<std::byte*> params(q.params.size());
    for (int64_t b = 0; b < blocks; ++b) {
      for (size_t i = 0; i < params.size(); ++i) params[i] = q.params[i].bytes.data() + b * each_[i];
      Block::unpack(tensors[0].data() + b * Block::kBytes, q.codes.data() + b * Block::kWeights, params.data());
    }
    return q;
  }

 private:
  std::string_view name_, type_;
  Scheme scheme_;
  std::vector<int64_t> each_;  // bytes of a block at each level
};

}  // namespace kerf
