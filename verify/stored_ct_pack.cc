// compressed-tensors "pack-quantized" (formats/layouts/layout_ct_pack.cc describes the bytes). A weight is (code -
// zero) * scale in the model's dtype, to which transformers rounds scales of another type when it loads them. Symmetric
// matrices of 4 and 8 bits are multiplied where they lie.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "verify/packed_bits.h"
#include "verify/stored.h"

namespace kerf {
namespace {

constexpr std::string_view kCodes = ".weight_packed";
constexpr std::string_view kParts[] = {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point",
                                       ".weight_g_idx"};

bool recognises(const QuantizedRepository& r) {
  if (r.text("quant_method") != "compressed-tensors") return false;
  return r.text("format") == "pack-quantized" || r.text("format") == "mixed-precision";
}

bool owns(const QuantizedRepository& r, const StoredTensor& t) {
  for (const std::string_view part : kParts)
    if (const auto module = stem_of(t.name, part)) return r.reader.find(*module + std::string(kCodes)) != nullptr;
  return false;
}

struct Parts {
  WordMatrix codes;                 // [out, words]
  FloatMatrix scales;               // [out, groups]
  std::optional<WordMatrix> zeros;  // [words, groups]
  std::vector<int32_t> group;       // of each input; empty: in order
  int64_t out = 0, in = 0;
  int bits = 0;
  bool padded = false;  // whole codes only in each word, as releases up to 0.16.0 wrote
  Dtype compute = Dtype::f32;

  uint32_t code(int64_t i, const auto& word) const {
    const int64_t per_word = 32 / bits;
    return stream_code(padded ? i / per_word * 32 + i % per_word * bits : i * bits, bits, word);
  }
  void decode(int64_t row, std::span<float> w) const {
    const int64_t size = in / scales.cols;
    std::vector<float> zero_of(static_cast<size_t>(scales.cols), static_cast<float>(1 << (bits - 1))),
        scale_of(zero_of.size());
    for (int64_t g = 0; g < scales.cols; ++g) {
      scale_of[static_cast<size_t>(g)] = round_to(compute, scales.at(row, g));
      if (zeros)
        zero_of[static_cast<size_t>(g)] = static_cast<float>(code(row, [&](int64_t j) { return zeros->at(j, g); }));
    }
    for (int64_t i = 0; i < in; ++i) {
      const auto g = static_cast<size_t>(group.empty() ? i / size : group[static_cast<size_t>(i)]);
      const auto c = static_cast<float>(code(i, [&](int64_t j) { return codes.at(row, j); }));
      w[static_cast<size_t>(i)] = round_to(compute, (c - zero_of[g]) * scale_of[g]);
    }
  }
};

// Whether so many words hold n codes, one way or the other. The first is the newer.
bool dense_fits(int64_t words, int64_t n, int bits) { return words == words_for(n, bits, "codes"); }
bool padded_fits(int64_t words, int64_t n, int bits) { return words == ceil_div(n, int64_t{32 / bits}); }

// The width of a module's codes: from its config group. Groups name modules, or classes and patterns, in which case the
// words decide among the groups.
int width_of(const QuantizedRepository& r, const Parts& p, const std::string& module) {
  std::vector<int> widths;
  const auto groups = r.quantization.find("config_groups");
  if (groups != r.quantization.end() && groups->is_object())
    for (const auto& [name, group] : groups->items()) {
      const auto weights = group.is_object() ? group.find("weights") : group.end();
      if (!group.is_object() || weights == group.end() || !weights->is_object()) continue;
      const auto bits = weights->find("num_bits");
      if (bits == weights->end() || !bits->is_number_integer()) continue;
      const auto b = bits->get<int64_t>();
      if (b < 1 || b > 8)
        fail(ErrorKind::bad_input, "{}: num_bits of {} is {}; 1 to 8 are allowed", r.config_file, name, b);
      const auto targets = group.find("targets");
      if (targets != group.end() && targets->is_array())
        for (const auto& target : *targets)
          if (target == module) return static_cast<int>(b);
      widths.push_back(static_cast<int>(b));
    }
  for (const bool padded : {false, true})
    for (const int b : widths)
      if (padded ? padded_fits(p.codes.cols, p.in, b) : dense_fits(p.codes.cols, p.in, b)) return b;
  fail(ErrorKind::bad_input, "{}: {} words hold a row of {} weights of {} in none of the widths that {} names",
       r.reader.path().string(), p.codes.cols, p.in, module, r.config_file);
}

// Releases up to 0.16.0 are "0.0" ... "0.16"; no version means an old one.
bool old_release(const QuantizedRepository& r) {
  const std::string version = r.text("version");
  if (!version.starts_with("0.")) return version.empty();
  return std::atoi(version.c_str() + 2) <= 16;
}

std::vector<int32_t> read_groups(const StoredTensor* t, int64_t in, int64_t groups, const auto& damaged) {
  if (!t) return {};
  if (t->type != "I32" || t->shape != std::vector<int64_t>{in}) damaged("weight_g_idx is not one I32 for each input");
  std::vector<int32_t> of(static_cast<size_t>(in));
  if (!of.empty()) std::memcpy(of.data(), t->bytes.data(), t->bytes.size());
  bool ordered = true;
  for (int64_t i = 0; i < in; ++i) {
    const int32_t g = of[static_cast<size_t>(i)];
    if (g < 0 || g >= groups) damaged(fmt::format("weight_g_idx puts input {} into group {} of {}", i, g, groups));
    ordered = ordered && g == i / (in / groups);
  }
  if (ordered) of.clear();
  return of;
}

Parts parts_of(const QuantizedRepository& r, const std::string& module) {
  const auto damaged = [&](const std::string& what) {
    fail(ErrorKind::bad_input, "{}: {} is not a pack-quantized matrix: {}", r.reader.path().string(), module, what);
  };
  const auto part = [&](const char* suffix) { return r.reader.find(module + suffix); };
  const StoredTensor *codes = part(".weight_packed"), *scales = part(".weight_scale"), *shape = part(".weight_shape"),
                     *zeros = part(".weight_zero_point");
  if (!scales || !shape) damaged("weight_packed, weight_scale and weight_shape belong together");
  int64_t size[2] = {0, 0};
  if (shape->type != "I64" || shape->bytes.size() != sizeof size) damaged("weight_shape is not two I64");
  std::memcpy(size, shape->bytes.data(), sizeof size);
  const auto c = word_matrix(*codes);
  const auto s = float_matrix(*scales);
  if (!c || !s) damaged("weight_packed must be a matrix of I32, weight_scale one of F32, F16 or BF16");
  Parts p{.codes = *c, .scales = *s, .out = size[0], .in = size[1], .compute = r.model};
  if (p.codes.rows != p.out || p.scales.rows != p.out || p.in < 1 || p.out < 1 || p.scales.cols < 1 ||
      p.in % p.scales.cols != 0)
    damaged(fmt::format("[{}, {}] weights, [{}, {}] words and [{}, {}] scales do not fit together", p.out, p.in,
                        p.codes.rows, p.codes.cols, p.scales.rows, p.scales.cols));
  p.bits = width_of(r, p, module);
  p.padded = !dense_fits(p.codes.cols, p.in, p.bits) || (padded_fits(p.codes.cols, p.in, p.bits) && old_release(r));
  if (p.padded && !padded_fits(p.codes.cols, p.in, p.bits))
    damaged(fmt::format("{} words do not hold a row of {} weights of {} bits", p.codes.cols, p.in, p.bits));
  if (zeros) {
    p.zeros = word_matrix(*zeros);
    const bool fits = p.zeros && p.zeros->cols == p.scales.cols &&
                      (p.padded ? padded_fits(p.zeros->rows, p.out, p.bits) : dense_fits(p.zeros->rows, p.out, p.bits));
    if (!fits) damaged("weight_zero_point is not a matrix of I32 with a zero point for each scale");
  }
  p.group = read_groups(part(".weight_g_idx"), p.in, p.scales.cols, damaged);
  return p;
}

PackedMatrix for_kernel(const Parts& p) {
  return {.rows = p.out,
          .cols = p.in,
          .codes = p.codes.bytes,
          .code_stride = p.codes.cols * 4,
          .scales = p.scales.bytes,
          .scale_stride = bytes_of(p.scales.type, p.scales.cols),
          .scale_dtype = p.scales.type,
          .bits = p.bits,
          .group = p.in / p.scales.cols,
          .compute = p.compute};
}

std::optional<StoredWeight> weight(const QuantizedRepository& r, const StoredTensor& t) {
  const auto module = stem_of(t.name, kCodes);
  if (!module) return std::nullopt;
  Parts p = parts_of(r, *module);
  const int64_t group = r.group_size(p.in, p.scales.cols);
  StoredWeight w = packed_weight(*module, p.out, p.in);
  if (p.group.empty() && (!p.padded || 32 % p.bits == 0)) {
    w.layout = "ct-pack";
    w.numbers = p.zeros ? asymmetric_int(p.bits, group, p.scales.type) : symmetric_int(p.bits, group, p.scales.type);
  }
  w.type = fmt::format("int{}{} {} {}", p.bits, p.zeros ? " asymmetric" : "",
                       group ? fmt::format("g{}", group) : "channel", name_of(p.scales.type));
  w.scheme = fmt::format("w{}a16-{}{}{}", p.bits, group ? fmt::format("g{}", group) : "channel", p.zeros ? "-asym" : "",
                         p.group.empty() ? "" : " actorder");
  for (const std::string_view part : kParts)
    if (const StoredTensor* found = r.reader.find(*module + std::string(part))) w.stored_bytes += found->bytes.size();
  // The kernels take scales as they are: that is the same where they have the model's dtype.
  const bool kernel = (p.bits == 4 || p.bits == 8) && !p.zeros && p.group.empty() && p.scales.type == p.compute;
  if (kernel) {
    w.gemm = &find_gemm(p.bits == 4 ? "ct-int4" : "ct-int8");
    w.packed = for_kernel(p);
  } else {
    w.decode = [parts = std::move(p)](int64_t row, std::span<float> out) { parts.decode(row, out); };
  }
  return w;
}

}  // namespace

const StoredFormat& stored_ct_pack() {
  static constexpr StoredFormat format{
      "compressed-tensors pack-quantized", "compressed-tensors", "vllm", recognises, owns, weight};
  return format;
}

}  // namespace kerf
