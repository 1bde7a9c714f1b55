// compressed-tensors "int-quantized" and "float-quantized": a byte per weight (formats/layouts/layout_ct_int.cc and
// layout_ct_float.cc describe the bytes), activations rounded to 8 bits as they come. Which of the two rules for
// activations a runtime follows is not in the files (kernels/compressed_tensors/w8_activations.h): `gemm` is the
// compressed-tensors package's, `vllm` is vLLM's.
#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "core/error.h"
#include "verify/stored.h"

namespace kerf {
namespace {
using nlohmann::json;

constexpr std::string_view kCodes = ".weight", kScale = ".weight_scale";

bool is_code_type(std::string_view type) { return type == "I8" || type == "F8_E4M3"; }
std::string module_of(const StoredTensor& t, std::string_view part) {
  return t.name.substr(0, t.name.size() - part.size());
}

template <class T>
T value_or(const json& object, const char* key, T otherwise) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return otherwise;
  try {
    return at->get<T>();
  } catch (const json::exception&) {
    fail(ErrorKind::bad_input, "quantization_config: \"{}\" is {}", key, at->dump());
  }
}

// Activations that share a scale, as the config's groups for weights of this type say; 0 for all of a token. Error
// unsupported for activations that are not rounded as they come.
int64_t activation_group(const QuantizedRepository& r, std::string_view type) {
  const auto groups = r.quantization.find("config_groups");
  std::optional<int64_t> found;
  const auto refuse = [&](const std::string& what) {
    fail(ErrorKind::unsupported,
         "{}: {}; kerf computes symmetric 8-bit weights with activations rounded to 8 bits per token (or per group), "
         "dynamically",
         r.config_file, what);
  };
  if (groups == r.quantization.end() || !groups->is_object()) refuse("there are no config_groups");
  for (const auto& [name, group] : groups->items()) {
    if (!group.is_object()) refuse(name + " is not an object");
    const json weights = value_or<json>(group, "weights", json::object());
    if (!weights.is_object() || value_or<std::string>(weights, "type", "int") != type ||
        value_or<int64_t>(weights, "num_bits", 8) != 8)
      continue;
    if (!value_or<bool>(weights, "symmetric", true)) refuse(name + " has zero points");
    const json inputs = value_or<json>(group, "input_activations", json());
    if (!inputs.is_object()) refuse(name + " leaves activations in 16 bits");
    if (value_or<json>(inputs, "dynamic", false) != json(true)) refuse(name + " has static activation scales");
    if (value_or<int64_t>(inputs, "num_bits", 8) != 8 || value_or<std::string>(inputs, "type", "int") != type ||
        !value_or<bool>(inputs, "symmetric", true))
      refuse(name + " rounds activations to another type than its weights");
    const std::string strategy = value_or<std::string>(inputs, "strategy", "token");
    const int64_t size = strategy == "group" ? value_or<int64_t>(inputs, "group_size", 0) : 0;
    if (strategy != "token" && size < 1) refuse(fmt::format("{} has activation scales by {}", name, strategy));
    if (found && *found != size) refuse("groups round the activations of such weights differently");
    found = size;
  }
  if (!found) refuse(fmt::format("no group describes {} weights of 8 bits", type));
  return *found;
}

// What each scale covers, by the shape of the tensor.
struct Coverage {
  int64_t rows, cols;
  std::string text;    // "channel"
  std::string suffix;  // of the target's scheme: "-block"
};

std::optional<Coverage> coverage(std::span<const int64_t> shape, int64_t rows, int64_t cols) {
  constexpr int64_t kBlock = 128;
  if (checked_elements(shape, "scales") == 1) return Coverage{rows, cols, "tensor", "-tensor"};
  if (shape.size() == 2 && shape[0] == rows && shape[1] == 1) return Coverage{1, cols, "channel", ""};
  if (shape.size() == 2 && shape[0] == ceil_div(rows, kBlock) && shape[1] == ceil_div(cols, kBlock))
    return Coverage{kBlock, kBlock, "128x128", "-block"};
  return std::nullopt;
}

Scheme fp8_numbers(const Coverage& c, Dtype scale) {
  if (c.suffix == "-tensor") return fp8({0, 0}, scale);
  return fp8(c.suffix.empty() ? Block{1, 0} : Block{c.rows, c.cols}, scale);
}

StoredWeight packed(const QuantizedRepository& r, const StoredTensor& codes) {
  const std::string module = module_of(codes, kCodes);
  const StoredTensor& scales = *r.reader.find(module + std::string(kScale));
  const auto damaged = [&](const std::string& what) {
    fail(ErrorKind::bad_input, "{}: {} is not a matrix of bytes with scales: {}", r.reader.path().string(), module,
         what);
  };
  if (r.reader.find(module + ".weight_zero_point") || r.reader.find(module + ".input_scale"))
    fail(ErrorKind::unsupported, "{}: {} has zero points or a static activation scale, which kerf does not compute",
         r.reader.path().string(), module);
  if (codes.shape.size() != 2 || codes.shape[0] < 1 || codes.shape[1] < 1) damaged("its weight is not a matrix");
  const int64_t rows = codes.shape[0], cols = codes.shape[1];
  const auto scale_dtype = dtype_from_name(scales.type);
  if (!scale_dtype || (*scale_dtype != Dtype::f32 && *scale_dtype != Dtype::f16 && *scale_dtype != Dtype::bf16))
    damaged("its scales are " + scales.type + ", not F32, F16 or BF16");
  const bool is_fp8 = codes.type == "F8_E4M3";
  const auto covers = coverage(scales.shape, rows, cols);
  if (!covers || (!is_fp8 && covers->rows != 1 && covers->rows != rows))
    damaged(fmt::format("scales [{}] do not fit [{}, {}] weights", fmt::join(scales.shape, ", "), rows, cols));
  const int64_t group = activation_group(r, is_fp8 ? "float" : "int");
  if (group != 0 && cols % group != 0) damaged(fmt::format("activations by {} do not divide {}", group, cols));
  if (!is_fp8 && group != 0)
    fail(ErrorKind::unsupported, "{}: 8-bit integer activations in groups; kerf computes them per token",
         r.config_file);
  const int64_t scale_cols = ceil_div(cols, covers->cols);
  StoredWeight w{.info = {.name = codes.name, .dtype = Dtype::f32, .shape = {rows, cols}},
                 .file_name = codes.name,
                 .type = fmt::format("{} {} {}", is_fp8 ? "fp8" : "int8", covers->text, scales.type),
                 .scheme = is_fp8 ? "fp8" + covers->suffix : "w8a8",
                 .gemm = &find_gemm(is_fp8 ? "ct-fp8" : "ct-w8a8"),
                 .vllm = &find_gemm(is_fp8 ? "vllm-fp8" : "vllm-w8a8"),
                 .stored_bytes = codes.bytes.size() + scales.bytes.size()};
  w.packed = {.rows = rows,
              .cols = cols,
              .codes = codes.bytes.data(),
              .code_stride = cols,
              .scales = scales.bytes.data(),
              .scale_stride = bytes_of(*scale_dtype, scale_cols),
              .scale_dtype = *scale_dtype,
              .bits = 8,
              .group = covers->cols,
              .compute = r.model,
              .scale_rows = covers->rows,
              .activation_group = group ? group : cols};
  if (is_fp8 || covers->rows == 1) {
    w.layout = is_fp8 ? "ct-float" : "ct-int";
    w.numbers = is_fp8 ? fp8_numbers(*covers, *scale_dtype) : symmetric_int(8, 0, *scale_dtype);
  }
  return w;
}

bool recognises(const QuantizedRepository& r) {
  if (r.text("quant_method") != "compressed-tensors") return false;
  const std::string format = r.text("format");
  return format == "int-quantized" || format == "float-quantized" || format == "mixed-precision";
}

// Codes have a scale beside them; a scale belongs to such codes.
bool owns(const QuantizedRepository& r, const StoredTensor& t) {
  if (t.name.ends_with(kCodes))
    return is_code_type(t.type) && r.reader.find(module_of(t, kCodes) + std::string(kScale));
  if (!t.name.ends_with(kScale)) return false;
  const StoredTensor* codes = r.reader.find(module_of(t, kScale) + std::string(kCodes));
  return codes && is_code_type(codes->type);
}

std::optional<StoredWeight> weight(const QuantizedRepository& r, const StoredTensor& t) {
  if (!t.name.ends_with(kCodes)) return std::nullopt;
  return packed(r, t);
}

}  // namespace

const StoredFormat& stored_ct_w8() {
  static constexpr StoredFormat format{
      "compressed-tensors int-quantized, float-quantized", "compressed-tensors", "vllm", recognises, owns, weight};
  return format;
}

}  // namespace kerf
