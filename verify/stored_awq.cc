// AWQ, version "gemm" (formats/layouts/layout_awq.cc describes the bytes). A weight is (code - zero) * scale, rounded
// to F16 and then to the model's dtype, as gptqmodel and AutoAWQ compute it.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/words.h"
#include "targets/half_model.h"
#include "verify/packed_bits.h"
#include "verify/stored.h"

namespace kerf {
namespace {

constexpr std::string_view kParts[] = {".qweight", ".qzeros", ".scales"};
// Which nibble of its word holds output o of eight.
constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

bool recognises(const QuantizedRepository& r) {
  if (r.text("quant_method") != "awq") return false;
  const std::string version = lower_case(r.text("version").empty() ? r.text("format") : r.text("version"));
  if (!version.empty() && version != "gemm")
    fail(ErrorKind::unsupported, "{}: the AWQ version \"{}\" is not supported; kerf reads gemm", r.config_file,
         version);
  const auto bits = r.quantization.find("bits");
  if (bits == r.quantization.end() || *bits != 4)
    fail(ErrorKind::unsupported, "{}: bits is {}; kerf reads AWQ of 4 bits", r.config_file,
         bits == r.quantization.end() ? "missing" : bits->dump());
  return true;
}

bool owns(const QuantizedRepository& r, const StoredTensor& t) {
  for (const std::string_view part : kParts)
    if (const auto module = stem_of(t.name, part)) return r.reader.find(*module + ".qweight") != nullptr;
  return false;
}

struct Parts {
  WordMatrix codes, zeros;  // [in, out / 8], [groups, out / 8]
  FloatMatrix scales;       // [groups, out]
  Dtype compute = Dtype::f16;

  int64_t in() const { return codes.rows; }
  int64_t out() const { return codes.cols * 8; }
  int64_t group() const { return in() / scales.rows; }
  static uint32_t nibble(const WordMatrix& words, int64_t r, int64_t out) {
    return words.at(r, out / 8) >> (4 * kNibble[out % 8]) & 15u;
  }
  void decode(int64_t row, std::span<float> w) const {
    const int64_t size = group();
    for (int64_t g = 0; g < scales.rows; ++g) {
      const float zero = static_cast<float>(nibble(zeros, g, row)), scale = scales.at(g, row);
      for (int64_t i = g * size; i < (g + 1) * size; ++i)
        w[static_cast<size_t>(i)] = round_to(Dtype::f16, (static_cast<float>(nibble(codes, i, row)) - zero) * scale);
    }
    round_to(compute, w);
  }
};

Parts parts_of(const QuantizedRepository& r, const std::string& module) {
  const auto damaged = [&](const std::string& what) {
    fail(ErrorKind::bad_input, "{}: {} is not an AWQ matrix: {}", r.reader.path().string(), module, what);
  };
  const StoredTensor *codes = r.reader.find(module + ".qweight"), *zeros = r.reader.find(module + ".qzeros"),
                     *scales = r.reader.find(module + ".scales");
  if (!zeros || !scales) damaged("qweight, qzeros and scales belong together");
  const auto c = word_matrix(*codes), z = word_matrix(*zeros);
  const auto s = float_matrix(*scales);
  if (!c || !z || !s) damaged("qweight and qzeros must be matrices of I32, scales one of F16, BF16 or F32");
  const Parts p{.codes = *c, .zeros = *z, .scales = *s, .compute = half_type(r.model)};
  if (p.codes.rows < 1 || p.codes.cols < 1 || p.scales.rows < 1) damaged("it is empty");
  if (p.zeros.cols != p.codes.cols || p.scales.rows != p.zeros.rows ||
      p.scales.cols != checked_mul<int64_t>(p.codes.cols, 8, module) || p.in() % p.scales.rows != 0)
    damaged(fmt::format("[{}, {}] words of codes, [{}, {}] of zero points and [{}, {}] scales do not fit together",
                        p.codes.rows, p.codes.cols, p.zeros.rows, p.zeros.cols, p.scales.rows, p.scales.cols));
  const auto wanted = r.quantization.find("group_size");
  const int64_t size = wanted != r.quantization.end() && wanted->is_number_integer() ? wanted->get<int64_t>() : 0;
  if (size != p.group() && !(size == -1 && p.scales.rows == 1))
    damaged(fmt::format("its groups are of {} weights, and {} says {}", p.group(), r.config_file, size));
  return p;
}

bool symmetric(const Parts& p) {
  for (int64_t g = 0; g < p.zeros.rows; ++g)
    for (int64_t c = 0; c < p.zeros.cols; ++c)
      if (p.zeros.at(g, c) != 0x88888888u) return false;
  return true;
}

std::optional<StoredWeight> weight(const QuantizedRepository& r, const StoredTensor& t) {
  const auto module = stem_of(t.name, ".qweight");
  if (!module) return std::nullopt;
  const Parts p = parts_of(r, *module);
  const int64_t group = r.group_size(p.in(), p.scales.rows);
  const bool sym = symmetric(p);
  StoredWeight w = packed_weight(*module, p.out(), p.in());
  w.scheme = fmt::format("w4-{}{}", group ? fmt::format("g{}", group) : "channel", sym ? "-sym" : "");
  w.type = "awq " + w.scheme;
  w.layout = "awq";
  w.numbers = sym ? symmetric_int(4, group, p.scales.type) : asymmetric_int(4, group, p.scales.type);
  for (const std::string_view part : kParts) w.stored_bytes += r.reader.find(*module + std::string(part))->bytes.size();
  w.decode = [p](int64_t row, std::span<float> out) { p.decode(row, out); };
  return w;
}

}  // namespace

const StoredFormat& stored_awq() {
  static constexpr StoredFormat format{"awq gemm", "awq", "awq", recognises, owns, weight};
  return format;
}

}  // namespace kerf
