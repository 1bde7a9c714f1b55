// Plain checkpoints, as transformers and everything that reads safetensors loads them: every tensor in one type.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "targets/target.h"

namespace kerf {
namespace {

constexpr std::string_view kModelsOwn = "model";

struct Type {
  std::string_view scheme;
  Dtype dtype;
  std::string_view text;
};
constexpr Type kTypes[] = {
    {"bf16", Dtype::bf16, "bfloat16"}, {"f16", Dtype::f16, "float16"}, {"f32", Dtype::f32, "float32"}};

class Checkpoint final : public Target {
 public:
  std::string_view name() const override { return "checkpoint"; }
  std::string_view runtime() const override {
    return "transformers, and all that reads safetensors (nothing is quantized)";
  }
  std::string_view repository() const override { return "huggingface"; }

  std::vector<SchemeHelp> schemes() const override {
    std::vector<SchemeHelp> all = {{kModelsOwn, "the type that the model has (the default)"}};
    for (const Type& t : kTypes) all.push_back({t.scheme, t.text});
    return all;
  }
  std::vector<std::string_view> rules() const override {
    return {"what pruning leaves is written as an ordinary checkpoint, which needs no code of its own",
            "weights that pruning made zero are stored like all others: they save no bytes here"};
  }

  std::string canonical(std::string_view scheme) const override {
    if (scheme.empty() || scheme == kModelsOwn) return std::string(kModelsOwn);
    for (const Type& t : kTypes)
      if (scheme == t.scheme || scheme == t.text) return std::string(t.scheme);
    fail(ErrorKind::usage, "checkpoint has no type '{}'; choose bf16, f16 or f32, or none for the model's own", scheme);
  }
  std::optional<Dtype> dtype_of(std::string_view scheme, Dtype model) const override {
    for (const Type& t : kTypes)
      if (scheme == t.scheme) return t.dtype;
    return model;
  }
  Storage storage(std::string_view, const SiteShape&, Dtype model) const override { return {.dense = model}; }
  std::span<const Dtype> model_dtypes() const override {
    static constexpr Dtype kAll[] = {Dtype::bf16, Dtype::f16, Dtype::f32};
    return kAll;
  }
  int64_t width_multiple(std::string_view) const override { return 64; }  // tiles of products on GPUs
  Dtype vector_dtype(Dtype model) const override { return model; }
  /// What the model computes, not how a runtime in half precision rounds it: as the original's figures.
  Arithmetic arithmetic(Dtype) const override { return {}; }
  Provenance provenance() const override { return Provenance::with_transformers; }
  HubCard card() const override { return {"transformers", "safetensors", "vllm serve {}", false}; }
  void configure(nlohmann::ordered_json&, std::string_view, std::span<const StoredSite>) const override {}
};

}  // namespace

const Target& target_checkpoint() {
  static const Checkpoint target;
  return target;
}

}  // namespace kerf
