// GPTQ, whose versions differ only in how zero points are stored.
//   qweight I32 [ceil(in * bits / 32), out]: the codes of one output run down a column
//   qzeros  I32 [groups, ceil(out * bits / 32)]: the zero points of one group run along a row; v1 stores zero - 1
//   scales  F16 [groups, out],  g_idx I32 [in]: the group of each input, here always i / group
//   value = scale * (code - zero); symmetric matrices have the zero point 2^(bits-1) everywhere
// A v1 zero point of 0 would be stored as -1, which some readers wrap to the largest code and others carry into the
// neighbouring zero point: v1 holds zero points from 1 only.
// Source: AutoGPTQ, nn_modules/qlinear; GPTQModel, nn_modules/qlinear and utils/model.py.
#pragma once

#include "formats/layouts/layout.h"

namespace kerf {

class GptqLayout final : public Layout {
 public:
  explicit GptqLayout(int version) : version_(version) {}
  std::string_view name() const override { return version_ == 1 ? "gptq-v1" : "gptq-v2"; }
  std::vector<Scheme> examples() const override;
  std::optional<std::string> refuses(const Scheme&, int64_t rows, int64_t cols) const override;
  std::vector<LayoutTensor> plan(const Scheme&, int64_t rows, int64_t cols) const override;
  bool packs_whole_matrices(const Scheme&) const override { return true; }
  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix&) const override;
  QuantizedMatrix unpack(const Scheme&, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override;

 private:
  uint8_t stored_minus() const { return version_ == 1 ? 1 : 0; }  // from a zero point
  std::vector<std::byte> pack_zeros(std::span<const uint8_t> zeros, int64_t groups, int64_t rows, int bits) const;
  std::vector<uint8_t> unpack_zeros(std::span<const std::byte>, int64_t groups, int64_t rows, int bits) const;

  int version_;
};

}  // namespace kerf
