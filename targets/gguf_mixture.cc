// The rules are a table, searched from the top: the first line that fits mixture, tensor, layer and model decides.
#include "targets/gguf_mixture.h"

#include <algorithm>

#include "core/error.h"
#include "core/words.h"
#include "formats/ggml_type.h"

namespace kerf {
namespace {

constexpr std::string_view kPure = "-pure";

// For a pure type of several mixtures, the first one's file type counts.
constexpr GgufMixture kMixtures[] = {
    {"Q4_0", "4-bit blocks of 32", "Q4_0", 2},
    {"Q4_1", "4-bit blocks of 32 with a minimum", "Q4_1", 3},
    {"Q5_0", "5-bit blocks of 32", "Q5_0", 8},
    {"Q5_1", "5-bit blocks of 32 with a minimum", "Q5_1", 9},
    {"Q8_0", "8-bit blocks of 32", "Q8_0", 7},
    {"Q2_K_S", "2-bit super-blocks of 256", "Q2_K", 21},
    {"Q2_K", "2-bit super-blocks, attn_v, attn_output and ffn_down in Q3_K", "Q2_K", 10},
    {"Q3_K_S", "3-bit super-blocks", "Q3_K", 11},
    {"Q3_K_M", "3-bit super-blocks, attn_v, attn_output and ffn_down in Q4_K", "Q3_K", 12},
    {"Q3_K_L", "3-bit super-blocks, attn_v, attn_output and ffn_down in Q5_K", "Q3_K", 13},
    {"Q4_K_S", "4-bit super-blocks, the first attn_v and ffn_down in Q5_K", "Q4_K", 14},
    {"Q4_K_M", "4-bit super-blocks, attn_v and ffn_down of half the layers in Q6_K", "Q4_K", 15},
    {"Q5_K_S", "5-bit super-blocks", "Q5_K", 16},
    {"Q5_K_M", "5-bit super-blocks, attn_v and ffn_down of half the layers in Q6_K", "Q5_K", 17},
    {"Q6_K", "6-bit super-blocks", "Q6_K", 18},
    {"IQ4_NL", "4-bit blocks of 32 on a curve", "IQ4_NL", 25},
    {"IQ4_XS", "4-bit super-blocks on a curve", "IQ4_XS", 30},
    {"IQ3_S", "3-bit codebook", "IQ3_S", 26},
    {"IQ3_M", "3-bit codebook, attn_v and attn_output in Q4_K", "IQ3_S", 27},
    {"IQ3_XS", "3-bit codebook, attn_q and attn_k in IQ3_XXS", "IQ3_S", 22},
    {"IQ3_XXS", "3-bit codebook, attn_q and attn_k in IQ2_S", "IQ3_XXS", 23},
    {"IQ2_M", "2-bit codebook, attn_v and attn_output in IQ3_S", "IQ2_S", 29},
    {"IQ2_S", "2-bit codebook, attn_v and attn_output in IQ3_S", "IQ2_XS", 28},
    {"IQ2_XS", "2-bit codebook, attn_v in Q2_K", "IQ2_XS", 20},
    {"IQ2_XXS", "2-bit codebook, attn_v in Q2_K", "IQ2_XXS", 19},
    {"IQ1_M", "less than 2 bits, attn_v in Q2_K, attn_output in IQ2_XXS", "IQ1_M", 31},
    {"IQ1_S", "less than 2 bits, attn_v in Q2_K, attn_output in IQ2_XXS", "IQ1_S", 24},
    {"TQ1_0", "ternary, 1.69 bits", "TQ1_0", 36},
    {"TQ2_0", "ternary, 2.06 bits", "TQ2_0", 37},
    {"Q1_0", "signs in blocks of 128", "Q1_0", 40},
    {"Q2_0", "2-bit blocks of 64", "Q2_0", 41},
    {"MXFP4", "4-bit floats in blocks of 32", "MXFP4", 38},
    {"NVFP4", "4-bit floats in blocks of 64", "NVFP4", 39},
    {"F16", "half floats", "F16", 1},
    {"BF16", "bfloat16", "BF16", 32},
    {"F32", "float32", "F32", 0},
};

const GgufMixture* find_mixture(std::string_view name) {
  const auto at = std::find_if(std::begin(kMixtures), std::end(kMixtures), [&](auto& m) { return m.name == name; });
  return at == std::end(kMixtures) ? nullptr : &*at;
}

// Which layers and models a rule is for.
enum class When {
  always,
  grouped,       // at least four heads share a key
  layers_0_1,    //
  layers_0_3,    //
  first_16th,    //
  first_8th,     //
  middle,        // all but the first and the last eighth
  alternating,   // the first and the last eighth, and every third layer between
  plain,         // without importance (no calibration, no importance matrix)
  plain_8th,     // the first eighth, without importance
  weighted_8th,  // the first eighth, with importance
};

bool holds(When when, const SiteShape& s) {
  const int64_t i = s.layer, n = s.model.layers;
  switch (when) {
    case When::always:
      return true;
    case When::grouped:
      return s.model.heads / std::max<int64_t>(1, s.model.kv_heads) >= 4;
    case When::layers_0_1:
      return i < 2;
    case When::layers_0_3:
      return i < 4;
    case When::first_16th:
      return i < n / 16;
    case When::first_8th:
      return i < n / 8;
    case When::middle:
      return i >= n / 8 && i < 7 * n / 8;
    case When::alternating:
      return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case When::plain:
      return !s.importance;
    case When::plain_8th:
      return !s.importance && i < n / 8;
    case When::weighted_8th:
      return s.importance && i < n / 8;
  }
  return false;
}

struct Rule {
  std::string_view mixtures, tensors;  // separated by spaces; tensors as GGUF calls them
  When when;
  std::string_view type;
};
// "vocabulary" is the head, or the embedding where it is the head too; "token_embd" an embedding that is not.
constexpr Rule kRules[] = {
    {"IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS", "vocabulary", When::always, "Q5_K"},
    {"F32", "vocabulary", When::always, "F32"},
    {"F16", "vocabulary", When::always, "F16"},
    {"BF16", "vocabulary", When::always, "BF16"},
    {"Q8_0", "vocabulary", When::always, "Q8_0"},
    {"*", "vocabulary", When::always, "Q6_K"},

    {"IQ1_S IQ1_M IQ2_XXS IQ2_XS", "token_embd", When::always, "Q2_K"},
    {"IQ2_S IQ2_M IQ3_XXS", "token_embd", When::always, "IQ3_S"},
    {"TQ1_0 TQ2_0 Q2_0", "token_embd", When::always, "Q4_K"},

    {"IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S Q2_K Q2_K_S", "attn_v", When::grouped, "Q4_K"},
    {"IQ1_S IQ1_M IQ2_XXS IQ2_XS", "attn_v", When::always, "Q2_K"},
    {"IQ2_S IQ2_M", "attn_v", When::always, "IQ3_S"},
    {"IQ3_XXS", "attn_v", When::plain, "IQ3_S"},
    {"Q2_K", "attn_v", When::always, "Q3_K"},
    {"Q3_K_M", "attn_v", When::layers_0_1, "Q5_K"},
    {"Q3_K_M IQ3_M", "attn_v", When::always, "Q4_K"},
    {"Q3_K_L", "attn_v", When::always, "Q5_K"},
    {"IQ4_NL IQ4_XS", "attn_v", When::grouped, "Q5_K"},
    {"Q4_K_S", "attn_v", When::layers_0_3, "Q5_K"},
    {"Q4_K_M Q5_K_M", "attn_v ffn_down", When::alternating, "Q6_K"},

    {"IQ3_XS", "attn_q attn_k", When::always, "IQ3_XXS"},
    {"IQ3_XXS", "attn_q attn_k", When::always, "IQ2_S"},
    {"IQ3_XS", "ffn_gate ffn_up", When::middle, "IQ3_XXS"},

    {"IQ1_S IQ1_M", "attn_output", When::always, "IQ2_XXS"},
    {"IQ2_S IQ2_M IQ3_XXS", "attn_output", When::always, "IQ3_S"},
    {"Q2_K", "attn_output", When::always, "Q3_K"},
    {"Q3_K_M IQ3_M", "attn_output", When::always, "Q4_K"},
    {"Q3_K_L", "attn_output", When::always, "Q5_K"},

    {"IQ1_S IQ1_M IQ2_XXS IQ2_XS", "ffn_down", When::first_8th, "Q2_K"},
    {"IQ2_S IQ2_M", "ffn_down", When::first_8th, "IQ3_S"},
    {"IQ3_XXS", "ffn_down", When::plain_8th, "Q4_K"},
    {"IQ3_XXS", "ffn_down", When::plain, "Q3_K"},
    {"IQ3_M Q2_K_S", "ffn_down", When::first_8th, "Q4_K"},
    {"Q2_K", "ffn_down", When::always, "Q3_K"},
    {"Q3_K_M", "ffn_down", When::first_16th, "Q5_K"},
    {"Q3_K_M", "ffn_down", When::always, "Q4_K"},
    {"Q3_K_L", "ffn_down", When::always, "Q5_K"},
    {"Q4_K_S", "ffn_down", When::first_8th, "Q5_K"},
    {"IQ4_NL IQ4_XS", "ffn_down", When::plain_8th, "Q5_K"},
    {"Q4_0", "ffn_down", When::weighted_8th, "Q4_1"},
    {"Q5_0", "ffn_down", When::weighted_8th, "Q5_1"},
};

bool lists(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find(' ', at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

// Llama 2 70B and its like: eight heads share a key, so better values cost next to nothing.
bool is_70b(const ModelShape& m) { return m.layers == 80 && m.heads != m.kv_heads; }

// "attn_v" of "blk.0.attn_v.weight".
std::string_view tensor_kind(std::string_view name) {
  constexpr std::string_view kBlock = "blk.", kWeight = ".weight";
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  if (name.starts_with(kBlock)) name.remove_prefix(std::min(name.size(), name.find('.', kBlock.size()) + 1));
  return name;
}

std::string_view mixed_type(const GgufMixture& m, const SiteShape& s) {
  std::string_view tensor = tensor_kind(s.gguf);
  const bool vocabulary = s.place == SitePlace::head || (s.place == SitePlace::embedding && s.model.tied);
  if (vocabulary) {
    tensor = "vocabulary";
    if (s.in % find_ggml_type(m.base)->block != 0) return "Q8_0";
  }
  std::string_view type = m.base;
  for (const Rule& r : kRules)
    if ((r.mixtures == "*" || lists(r.mixtures, m.name)) && lists(r.tensors, tensor) && holds(r.when, s)) {
      type = r.type;
      break;
    }
  if (vocabulary && type == "Q6_K" && s.in % find_ggml_type(type)->block != 0) return "Q8_0";
  const bool below_3_bits = m.name.starts_with("IQ1") || m.name.starts_with("IQ2");
  if (tensor == "attn_v" && is_70b(s.model) && !below_3_bits && (type == "Q3_K" || type == "Q4_K")) return "Q5_K";
  return type;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

bool is_type(std::string_view name) {
  const GgmlType* type = find_ggml_type(name);
  return type && !type->withdrawn();
}

}  // namespace

std::span<const GgufMixture> gguf_mixtures() { return kMixtures; }

std::string canonical_gguf_scheme(std::string_view scheme) {
  std::string name = upper(scheme);
  if (name == upper(kMixedScheme)) return std::string(kMixedScheme);
  if (name == "Q3_K" || name == "Q4_K" || name == "Q5_K") name += "_M";
  if (find_mixture(name)) return name;
  if (!name.ends_with(upper(kPure))) return "";
  name.resize(name.size() - kPure.size());
  return is_type(name) ? name + std::string(kPure) : "";
}

std::string canonical_gguf_scheme_of_matrix(std::string_view scheme) {
  const std::string name = upper(scheme);
  return is_type(name) ? name + std::string(kPure) : canonical_gguf_scheme(scheme);
}

uint32_t gguf_file_type(std::string_view scheme) {
  const bool pure = scheme.ends_with(kPure);
  const std::string_view name = scheme.substr(0, scheme.size() - (pure ? kPure.size() : 0));
  for (const GgufMixture& m : kMixtures)
    if ((pure ? m.base : m.name) == name) return m.file_type;
  fail(ErrorKind::unsupported, "GGUF has no file type for {}", scheme);
}

const GgufMixture* gguf_mixture_of_file_type(int64_t file_type) {
  for (const GgufMixture& m : kMixtures)
    if (m.file_type == file_type) return &m;
  return nullptr;
}

std::string_view wanted_gguf_type(std::string_view scheme, const SiteShape& site) {
  if (scheme.ends_with(kPure)) return find_ggml_type(scheme.substr(0, scheme.size() - kPure.size()))->name;
  const GgufMixture* mixture = find_mixture(scheme);
  if (!mixture) fail(ErrorKind::internal, "there is no mixture '{}'", scheme);
  return mixed_type(*mixture, site);
}

const Layout* gguf_layout(std::string_view type) {
  const std::string name = lower_case(fmt::format("gguf-{}", type));
  for (const Layout* l : all_layouts())
    if (l->name() == name) return l;
  return nullptr;
}

std::vector<std::string> gguf_site_schemes(int64_t in) {
  std::vector<std::string> schemes;
  for (const std::string_view type : {"IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS",
                                      "IQ4_NL", "Q4_0", "Q4_K", "Q4_1", "Q5_0", "Q5_K", "Q5_1", "Q6_K", "Q8_0", "F16"})
    if (fitting_gguf_type(type, in) == type && (type == "F16" || gguf_layout(type)))
      schemes.push_back(canonical_gguf_scheme_of_matrix(type));
  return schemes;
}

std::string_view fitting_gguf_type(std::string_view type, int64_t in) {
  constexpr std::pair<std::string_view, std::string_view> substitutes[] = {
      {"IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_XS", "IQ4_NL"},
      {"Q2_0 Q2_K Q3_K TQ1_0 TQ2_0", "Q4_0"},
      {"Q4_K", "Q5_0"},
      {"Q5_K", "Q5_1"},
      {"Q6_K", "Q8_0"}};
  const int64_t block = find_ggml_type(type)->block;
  if (in % block == 0) return type;
  for (const auto& [types, substitute] : substitutes)
    if (lists(types, type)) return in % find_ggml_type(substitute)->block == 0 ? substitute : "F16";
  return block <= 32 ? "F16" : "";
}

}  // namespace kerf
