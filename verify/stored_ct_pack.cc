// compressed-tensors "pack-quantized" (formats/layout_ct_pack.cc describes the bytes).
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "core/error.h"
#include "verify/stored.h"

namespace kerf {
namespace {

constexpr std::string_view kCodes = ".weight_packed";

// The parts of one packed matrix, whose names begin with `module`.
StoredWeight packed(const Reader& r, const std::string& module, Dtype compute) {
  const std::string file = r.path().string();
  const StoredTensor* codes = r.find(module + ".weight_packed");
  const StoredTensor* scales = r.find(module + ".weight_scale");
  const StoredTensor* shape = r.find(module + ".weight_shape");
  const auto damaged = [&](const std::string& what) {
    fail(ErrorKind::bad_input, "{}: {} is not a pack-quantized matrix: {}", file, module, what);
  };
  if (!codes || !scales || !shape) damaged("weight_packed, weight_scale and weight_shape belong together");
  if (r.find(module + ".weight_zero_point") || r.find(module + ".weight_g_idx"))
    fail(ErrorKind::unsupported, "{}: {} has zero points or a group order, which kerf does not compute yet", file,
         module);
  int64_t size[2] = {0, 0};
  if (shape->type != "I64" || shape->bytes.size() != sizeof size) damaged("weight_shape is not two I64");
  std::memcpy(size, shape->bytes.data(), sizeof size);
  const auto scale_dtype = dtype_from_name(scales->type);
  if (codes->type != "I32" || codes->shape.size() != 2 || scales->shape.size() != 2)
    damaged("its parts have other types");
  if (!scale_dtype || (*scale_dtype != Dtype::f32 && *scale_dtype != Dtype::f16 && *scale_dtype != Dtype::bf16))
    damaged("its scales are " + scales->type + ", not F32, F16 or BF16");
  const int64_t rows = codes->shape[0], words = codes->shape[1], groups = scales->shape[1];
  if (size[0] != rows || scales->shape[0] != rows || size[1] < 1 || rows < 1 || groups < 1 || size[1] % groups != 0)
    damaged(fmt::format("[{}, {}] weights, [{}, {}] words and [{}, {}] scales do not fit together", size[0], size[1],
                        rows, words, scales->shape[0], groups));
  int bits = 0;
  for (int b : {4, 8})
    if (words == ceil_div(checked_mul<int64_t>(size[1], b, module), int64_t{32})) bits = b;
  if (bits == 0) damaged(fmt::format("{} words hold a row of {} weights at neither 4 nor 8 bits", words, size[1]));
  StoredWeight w{.info = {.name = module + ".weight", .dtype = Dtype::f32, .shape = {size[0], size[1]}},
                 .file_name = module + ".weight",
                 .gemm = &find_gemm(bits == 4 ? "ct-int4" : "ct-int8"),
                 .stored_bytes = codes->bytes.size() + scales->bytes.size() + shape->bytes.size()};
  w.type = fmt::format("int{} g{} {}", bits, size[1] / groups, scales->type);
  w.scheme = fmt::format("w{}a16-{}", bits, groups == 1 ? "channel" : fmt::format("g{}", size[1] / groups));
  w.packed = {.rows = rows,
              .cols = size[1],
              .codes = codes->bytes.data(),
              .code_stride = words * 4,
              .scales = scales->bytes.data(),
              .scale_stride = bytes_of(*scale_dtype, groups),
              .scale_dtype = *scale_dtype,
              .bits = bits,
              .group = size[1] / groups,
              .compute = compute};
  return w;
}

bool recognises(const QuantizedRepository& r) {
  if (r.text("quant_method") != "compressed-tensors") return false;
  return r.text("format") == "pack-quantized" || r.text("format") == "mixed-precision";
}

bool owns(const QuantizedRepository& r, const StoredTensor& t) {
  if (t.name.ends_with(kCodes)) return true;
  for (const std::string_view part : {".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"})
    if (t.name.ends_with(part))
      return r.reader.find(t.name.substr(0, t.name.size() - part.size()) + std::string(kCodes)) != nullptr;
  return false;
}

std::optional<StoredWeight> weight(const QuantizedRepository& r, const StoredTensor& t) {
  if (!t.name.ends_with(kCodes)) return std::nullopt;
  return packed(r.reader, t.name.substr(0, t.name.size() - kCodes.size()), r.model);
}

}  // namespace

const StoredFormat& stored_ct_pack() {
  static constexpr StoredFormat format{
      "compressed-tensors pack-quantized", "compressed-tensors", "vllm", recognises, owns, weight};
  return format;
}

}  // namespace kerf
