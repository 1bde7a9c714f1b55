// Checkpoints as on the Hugging Face hub: full precision, or compressed-tensors "pack-quantized".
#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "core/error.h"
#include "core/file.h"
#include "formats/layout.h"
#include "verify/artifact.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
  json j = json::parse(read_text(path, 64 << 20), nullptr, false);
  if (j.is_discarded() || !j.is_object()) fail(ErrorKind::bad_input, "{} is not a JSON object", path.string());
  return j;
}

StoredWeight plain(const StoredTensor& t, const std::string& file) {
  const auto dtype = dtype_from_name(t.type);
  if (!dtype) fail(ErrorKind::bad_input, "{}: tensor {} has the unknown type {}", file, t.name, t.type);
  return {.info = {.name = t.name, .dtype = *dtype, .shape = t.shape},
          .file_name = t.name,
          .type = t.type,
          .bytes = t.bytes,
          .stored_bytes = t.bytes.size()};
}

// The parts of one packed matrix, whose names begin with `module`.
StoredWeight packed(const Reader& r, const std::string& module, const std::string& file, Dtype compute) {
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

// Error unless the quantization is one that the packed kernels compute.
void check_quantization(const json& q, const std::string& file) {
  const auto text = [&](const char* key) {
    return q.contains(key) && q[key].is_string() ? q[key].get<std::string>() : "";
  };
  if (!q.is_object() || text("quant_method") != "compressed-tensors")
    fail(ErrorKind::unsupported, "{}: quantization_config says \"{}\"; kerf reads compressed-tensors here", file,
         q.is_object() ? text("quant_method") : q.dump());
  if (text("format") != "pack-quantized")
    fail(ErrorKind::unsupported,
         "{}: the compressed-tensors format \"{}\" is not supported yet; kerf reads pack-quantized", file,
         text("format"));
}

}  // namespace

Artifact open_huggingface_artifact(const fs::path& path) {
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  const fs::path config_file = folder / "config.json";
  if (!fs::exists(config_file))
    fail(ErrorKind::io,
         "{} has no config.json beside it; a checkpoint is a folder with config.json, safetensors and a "
         "tokenizer",
         path.string());
  const json config = read_json(config_file);
  Artifact a{.path = path, .format = "checkpoint", .architecture = describe_architecture(config)};
  std::unique_ptr<Reader> reader = find_container("safetensors").open(path);
  const std::string file = reader->path().string();
  std::vector<StoredWeight> weights;
  const auto quantization = config.find("quantization_config");
  if (quantization != config.end() && !quantization->is_null()) {
    check_quantization(*quantization, config_file.string());
    a.format = "compressed-tensors";
    a.arithmetic = {.stream = a.architecture.dtype, .attention = a.architecture.dtype, .fused_attention = true};
  }
  for (const StoredTensor& t : reader->tensors()) {
    if (a.format == "checkpoint") {
      weights.push_back(plain(t, file));
      continue;
    }
    if (t.name.ends_with(".weight_packed"))
      weights.push_back(packed(*reader, t.name.substr(0, t.name.size() - 14), file, a.arithmetic.stream));
    else if (!t.name.ends_with(".weight_scale") && !t.name.ends_with(".weight_shape"))
      weights.push_back(plain(t, file));
  }
  a.files = reader->files();
  for (const auto& f : a.files) a.bytes += fs::file_size(f);
  a.weights = std::make_unique<StoredWeights>(std::move(reader), std::move(weights));
  check_tensors(a.architecture, *a.weights);
  if (fs::exists(folder / "tokenizer.json")) a.tokenizer = read_tokenizer_spec(folder);
  return a;
}

}  // namespace kerf
