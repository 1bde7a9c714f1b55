// llama.cpp (and Ollama) on a CPU: one GGUF file. Activations are rounded, row by row, to the type that the weight's
// type asks for (Q8_0 blocks for Q4_0 and Q8_0, the type itself for F16 and BF16); everything between products is
// float32; keys, values, queries and softmax probabilities meet as F16. Sums take its order (SumOrder::ggml).
// Source: ggml/src/ggml-cpu (type traits, vec_dot), src/llama-quant.cpp (which tensor gets which type).
#include "core/error.h"
#include "targets/target.h"

namespace kerf {
namespace {

bool is_vocabulary(const SiteShape& s) { return s.role == "token_embd" || s.role == "output"; }

struct Type {
  std::string_view name, text;
  std::string_view layout;      // "" for plain numbers
  std::string_view vocabulary;  // type of the embedding and the head
  Dtype dense;
};
constexpr Type kTypes[] = {
    {"Q8_0", "8-bit blocks of 32 (8.5 bits per weight)", "gguf-q8_0", "Q8_0", Dtype::f32},
    {"Q4_0", "4-bit blocks of 32 (4.5 bits per weight); embedding and head in Q8_0", "gguf-q4_0", "Q8_0", Dtype::f32},
    {"F16", "half floats", "", "F16", Dtype::f16},
    {"BF16", "bfloat16", "", "BF16", Dtype::bf16},
    {"F32", "float32", "", "F32", Dtype::f32},
};

const Type* find_type(std::string_view name) {
  for (const Type& t : kTypes)
    if (t.name == name) return &t;
  return nullptr;
}

class LlamaCppCpu final : public Target {
 public:
  std::string_view name() const override { return "llama.cpp-cpu"; }
  std::string_view runtime() const override { return "llama.cpp and Ollama on a CPU"; }
  std::string_view container() const override { return "gguf"; }

  std::vector<SchemeHelp> schemes() const override {
    std::vector<SchemeHelp> all;
    for (const Type& t : kTypes) all.push_back({t.name, t.text});
    return all;
  }

  std::vector<std::string_view> rules() const override {
    return {
        "a row of a Q4_0 or Q8_0 matrix divides into blocks of 32 weights; one that does not is stored as F16, as "
        "llama-quantize does, with a warning (refused with --strict)",
        "norms and biases stay F32"};
  }

  std::string canonical(std::string_view scheme) const override {
    if (scheme.empty()) return "Q4_0";
    std::string upper(scheme);
    for (char& c : upper)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (find_type(upper)) return upper;
    std::string known;
    for (const Type& t : kTypes) known += fmt::format("{}{}", known.empty() ? "" : ", ", t.name);
    fail(ErrorKind::usage, "llama.cpp-cpu has no scheme '{}'; choose one of: {}", scheme, known);
  }

  Storage storage(std::string_view scheme, const SiteShape& site, Dtype) const override {
    const Type* type = find_type(scheme);
    if (is_vocabulary(site)) type = find_type(type->vocabulary);
    if (type->layout.empty()) return {.dense = type->dense};
    const Layout& layout = find_layout(type->layout);
    const Scheme packed = layout.examples().front();
    if (const auto rule = layout.refuses(packed, site.out, site.in))
      return {.dense = Dtype::f16, .remark = fmt::format("{}: {}; stored as F16", site.name, *rule)};
    return {.layout = &layout, .scheme = packed};
  }

  Dtype vector_dtype(Dtype) const override { return Dtype::f32; }
  Arithmetic arithmetic(Dtype) const override {
    return {.stream = Dtype::f32, .attention = Dtype::f16, .order = SumOrder::ggml};
  }
  Provenance provenance() const override { return Provenance::measured; }
  HubCard card() const override { return {"gguf", "gguf", "llama-cli -m {}"}; }
};

}  // namespace

const Target& target_llama_cpp_cpu() {
  static const LlamaCppCpu target;
  return target;
}

}  // namespace kerf
