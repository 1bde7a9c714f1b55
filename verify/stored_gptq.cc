// GPTQ, versions 1 and 2, groups in any order (formats/layouts/layout_gptq.h describes the bytes). A weight is
// (code - zero) * scale, rounded to F16 and then to the model's dtype, as gptqmodel computes it.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "targets/half_model.h"
#include "verify/packed_bits.h"
#include "verify/stored.h"

namespace kerf {
namespace {

constexpr int kWidths[] = {2, 3, 4, 8};
constexpr std::string_view kParts[] = {".qweight", ".qzeros", ".scales", ".g_idx"};

std::string format_of(const QuantizedRepository& r) {
  for (const char* key : {"checkpoint_format", "format"})
    if (!r.text(key).empty()) return r.text(key);
  return "gptq";
}

std::optional<int64_t> integer(const QuantizedRepository& r, const char* key) {
  const auto at = r.quantization.find(key);
  if (at == r.quantization.end() || at->is_null()) return std::nullopt;
  if (!at->is_number_integer())
    fail(ErrorKind::bad_input, "{}: {} is {}, not a number", r.config_file, key, at->dump());
  return at->get<int64_t>();
}

bool recognises(const QuantizedRepository& r) {
  if ((r.text("quant_method").empty() ? r.text("method") : r.text("quant_method")) != "gptq") return false;
  if (format_of(r) != "gptq" && format_of(r) != "gptq_v2")
    fail(ErrorKind::unsupported, "{}: the GPTQ format \"{}\" is not supported; kerf reads gptq and gptq_v2",
         r.config_file, format_of(r));
  if (const std::string type = r.text("pack_dtype"); !type.empty() && type != "int32")
    fail(ErrorKind::unsupported, "{}: codes are packed into {}; kerf reads int32", r.config_file, type);
  const auto bits = integer(r, "bits");
  if (!bits || std::find(std::begin(kWidths), std::end(kWidths), *bits) == std::end(kWidths))
    fail(ErrorKind::bad_input, "{}: bits is {}; GPTQ has 2, 3, 4 and 8", r.config_file,
         bits ? std::to_string(*bits) : "missing");
  return true;
}

bool owns(const QuantizedRepository& r, const StoredTensor& t) {
  for (const std::string_view part : kParts)
    if (const auto module = stem_of(t.name, part)) return r.reader.find(*module + ".qweight") != nullptr;
  return false;
}

// The parts of one matrix, checked against each other.
struct Parts {
  WordMatrix codes, zeros;     // [in * bits / 32, out], [groups, out * bits / 32]
  FloatMatrix scales;          // [groups, out]
  std::vector<int32_t> group;  // of each input
  int bits = 0;
  int zero_plus = 0;  // what v1 stored too little
  Dtype compute = Dtype::f16;

  int64_t in() const { return static_cast<int64_t>(group.size()); }
  int64_t out() const { return codes.cols; }
  float zero(int64_t g, int64_t row) const {
    const uint32_t stored = stream_code(row * bits, bits, [&](int64_t j) { return zeros.at(g, j); });
    return static_cast<float>((static_cast<int>(stored) + zero_plus) & ((1 << bits) - 1));
  }
  void decode(int64_t row, std::span<float> w) const {
    std::vector<float> zero_of(static_cast<size_t>(scales.rows)), scale_of(zero_of.size());
    for (int64_t g = 0; g < scales.rows; ++g) {
      zero_of[static_cast<size_t>(g)] = zero(g, row);
      scale_of[static_cast<size_t>(g)] = scales.at(g, row);
    }
    for (size_t i = 0; i < w.size(); ++i) {
      const auto g = static_cast<size_t>(group[i]);
      const uint32_t code =
          stream_code(static_cast<int64_t>(i) * bits, bits, [&](int64_t j) { return codes.at(j, row); });
      w[i] = round_to(Dtype::f16, (static_cast<float>(code) - zero_of[g]) * scale_of[g]);
    }
    round_to(compute, w);
  }
};

// Files of the first GPTQ tools have no g_idx: groups are in order then.
std::vector<int32_t> groups_in_order(const QuantizedRepository& r, int64_t in, int64_t groups, const auto& damaged) {
  const auto ordered = r.quantization.find("desc_act");
  if (ordered != r.quantization.end() && *ordered == true)
    damaged("it has no g_idx, and desc_act says that its groups are in another order");
  const int64_t said = integer(r, "group_size").value_or(-1), size = said < 1 ? in : said;
  if (ceil_div(in, size) != groups)
    damaged(fmt::format("{} groups for {} inputs, and group_size is {}", groups, in, said));
  std::vector<int32_t> group(static_cast<size_t>(in));
  for (int64_t i = 0; i < in; ++i) group[static_cast<size_t>(i)] = static_cast<int32_t>(i / size);
  return group;
}

std::vector<int32_t> read_groups(const StoredTensor& t, const auto& damaged) {
  if (t.type != "I32" || t.shape.size() != 1) damaged("g_idx is not a list of I32");
  std::vector<int32_t> groups(static_cast<size_t>(t.shape[0]));
  if (!groups.empty()) std::memcpy(groups.data(), t.bytes.data(), t.bytes.size());
  return groups;
}

// True for a width whose words are as many as there are.
bool fits(const Parts& p, int bits) {
  return p.codes.rows == words_for(p.in(), bits, "qweight") && p.zeros.cols == words_for(p.out(), bits, "qzeros");
}

std::string scheme_of(const Parts& p, int64_t group, bool ordered, bool symmetric, int version) {
  return fmt::format("w{}-{}{}{}{}", p.bits, group == 0 ? "channel" : fmt::format("g{}", group),
                     symmetric ? "" : "-asym", version == 2 ? "-v2" : "", ordered ? "" : " desc_act");
}

Parts parts_of(const QuantizedRepository& r, const std::string& module) {
  const auto damaged = [&](const std::string& what) {
    fail(ErrorKind::bad_input, "{}: {} is not a GPTQ matrix: {}", r.reader.path().string(), module, what);
  };
  const StoredTensor *codes = r.reader.find(module + ".qweight"), *zeros = r.reader.find(module + ".qzeros"),
                     *scales = r.reader.find(module + ".scales"), *index = r.reader.find(module + ".g_idx");
  if (!zeros || !scales) damaged("qweight, qzeros and scales belong together");
  const auto c = word_matrix(*codes), z = word_matrix(*zeros);
  const auto s = float_matrix(*scales);
  if (!c || !z || !s) damaged("qweight and qzeros must be matrices of I32, scales one of F16, BF16 or F32");
  if (c->rows < 1 || c->cols < 1 || s->rows < 1) damaged("it is empty");
  Parts p{.codes = *c, .zeros = *z, .scales = *s, .compute = half_type(r.model)};
  p.group = index
                ? read_groups(*index, damaged)
                : groups_in_order(r, checked_mul<int64_t>(c->rows, 32, module) / *integer(r, "bits"), s->rows, damaged);
  p.zero_plus = format_of(r) == "gptq" ? 1 : 0;
  if (p.in() < 1 || p.out() < 1 || p.scales.rows < 1) damaged("it is empty");
  if (p.scales.cols != p.out() || p.zeros.rows != p.scales.rows)
    damaged(fmt::format("{} outputs, [{}, {}] scales and [{}, {}] words of zero points do not fit together", p.out(),
                        p.scales.rows, p.scales.cols, p.zeros.rows, p.zeros.cols));
  for (size_t i = 0; i < p.group.size(); ++i) {
    if (p.group[i] < 0) p.group[i] += static_cast<int32_t>(p.scales.rows);  // as PyTorch indexes
    if (p.group[i] < 0 || p.group[i] >= p.scales.rows)
      damaged(fmt::format("g_idx puts input {} into a group that is none of the {}", i, p.scales.rows));
  }
  p.bits = static_cast<int>(*integer(r, "bits"));
  if (!fits(p, p.bits) && r.quantization.contains("dynamic"))  // other widths for some modules
    for (const int bits : kWidths)
      if (fits(p, bits)) p.bits = bits;
  if (!fits(p, p.bits))
    damaged(fmt::format("[{}, {}] and [{}, {}] words do not hold [{}, {}] weights of {} bits", p.codes.rows,
                        p.codes.cols, p.zeros.rows, p.zeros.cols, p.out(), p.in(), p.bits));
  return p;
}

bool in_order(const Parts& p) {
  if (p.in() % p.scales.rows != 0) return false;
  const int64_t size = p.in() / p.scales.rows;
  for (int64_t i = 0; i < p.in(); ++i)
    if (p.group[static_cast<size_t>(i)] != i / size) return false;
  return true;
}

bool symmetric(const Parts& p) {
  for (int64_t g = 0; g < p.scales.rows; ++g)
    for (int64_t row = 0; row < p.out(); ++row)
      if (p.zero(g, row) != static_cast<float>(1 << (p.bits - 1))) return false;
  return true;
}

std::optional<StoredWeight> weight(const QuantizedRepository& r, const StoredTensor& t) {
  const auto module = stem_of(t.name, ".qweight");
  if (!module) return std::nullopt;
  Parts p = parts_of(r, *module);
  StoredWeight w = packed_weight(*module, p.out(), p.in());
  const int version = p.zero_plus == 1 ? 1 : 2;
  const bool ordered = in_order(p), sym = symmetric(p);
  const int64_t group = r.group_size(p.in(), p.scales.rows);
  w.scheme = scheme_of(p, group, ordered, sym, version);
  w.type = fmt::format("gptq {}", w.scheme);
  if (ordered) {
    w.layout = version == 1 ? "gptq-v1" : "gptq-v2";
    w.numbers = sym ? symmetric_int(p.bits, group, p.scales.type)
                    : asymmetric_int(p.bits, group, p.scales.type, static_cast<uint8_t>(p.zero_plus));
  }
  for (const std::string_view part : kParts)
    if (const StoredTensor* stored = r.reader.find(*module + std::string(part))) w.stored_bytes += stored->bytes.size();
  w.decode = [parts = std::move(p)](int64_t row, std::span<float> out) { parts.decode(row, out); };
  return w;
}

}  // namespace

const StoredFormat& stored_gptq() {
  static constexpr StoredFormat format{"gptq", "gptq", "transformers-gptq", recognises, owns, weight};
  return format;
}

}  // namespace kerf
