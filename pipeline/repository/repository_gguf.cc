// GGUF: one file says everything, tokenizer and all; several are its shards. Ollama wants a Modelfile beside it, and
// reads a model from one file only.
#include <set>

#include "core/file.h"
#include "pipeline/repository/export_gguf.h"
#include "pipeline/repository/repository.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr const char* kModelfile = "Modelfile";

std::string weights_name(const std::string& model, const std::string& variant) {
  return fmt::format("{}-{}.gguf", model, variant);
}

std::vector<fs::path> write_companions(const RepositoryContent& c) {
  if (c.weights.size() > 1) return {};
  const fs::path path = c.folder / kModelfile;
  write_text(path, modelfile(c.source.architecture, c.source.tokenizer, c.plan.file_name));
  return {path};
}

bool owns(std::string_view file, std::string_view weights) {
  return file == kModelfile || (!weights.empty() && is_weights_file(file, weights));
}

// Whether the mixture gives a matrix that type, with importance or without.
bool gives(const GgufMixture& m, SiteShape shape, std::string_view type) {
  for (const bool importance : {false, true}) {
    shape.importance = importance;
    if (fitting_gguf_type(wanted_gguf_type(m.name, shape), shape.in) == type) return true;
  }
  return false;
}

// A mixture goes by its name, if the file has its type at all: some programs leave file_type as they found it. Where
// more than a quarter of the weights have another type than it gives them, somebody has chosen types one by one (other
// versions of llama-quantize differ in less).
std::optional<std::string> scheme_said(const Artifact& a) {
  const GgufMixture* m = gguf_mixture_of_file_type(a.weights->reader().get_integer("general.file_type").value_or(-1));
  if (!m) return std::nullopt;
  bool has_base = false;
  std::set<std::string> types;
  int64_t weights = 0, others = 0;
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer)) {
      const std::string& type = a.weights->weight(site.name)->scheme;
      has_base = has_base || type == m->base;
      types.insert(type);
      weights += site.out * site.in;
      if (!gives(*m, shape_of(a.architecture, site), type)) others += site.out * site.in;
    }
  if (!has_base) return std::nullopt;
  if (types.size() > 1 && 4 * others > weights) return std::string(kMixedScheme);
  return std::string(m->name);
}

}  // namespace

const Repository& repository_gguf() {
  static constexpr Repository kind{.name = "gguf",
                                   .container = "gguf",
                                   .repacks_in_place = true,
                                   .allocates_bytes = true,
                                   .weights_name = weights_name,
                                   .metadata = gguf_metadata,
                                   .write_companions = write_companions,
                                   .owns = owns,
                                   .scheme_said = scheme_said};
  return kind;
}

}  // namespace kerf
