// GGUF: one file says everything, tokenizer and all; several are its shards. Ollama wants a Modelfile beside it, and
// reads a model from one file only.
#include "core/file.h"
#include "formats/gguf.h"
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
  std::vector<fs::path> written = copy_licences(c.source.path, c.folder);
  if (c.weights.size() > 1) return written;
  const fs::path path = c.folder / kModelfile;
  write_text(path, modelfile(c.source.architecture, c.source.tokenizer, c.plan.file_name));
  written.insert(written.begin(), path);
  return written;
}

// Licences are not among them, as in repository_huggingface.cc.
bool owns(std::string_view file, std::string_view weights) {
  return file == kModelfile || (!weights.empty() && is_weights_file(file, weights));
}

uint64_t file_bytes(const TargetPlan& plan) { return place_gguf(plan.file_name, plan.file).files[0].size; }

// A mixture goes by its name, if the file has its type at all: some programs leave file_type as they found it.
std::optional<std::string> scheme_said(const Artifact& a) {
  const GgufMixture* m = gguf_mixture_of_file_type(a.weights->reader().get_integer("general.file_type").value_or(-1));
  if (!m) return std::nullopt;
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer))
      if (a.weights->weight(site.name)->scheme == m->base) return std::string(m->name);
  return std::nullopt;
}

}  // namespace

const Repository& repository_gguf() {
  static constexpr Repository kind{.name = "gguf",
                                   .container = "gguf",
                                   .repacks_in_place = true,
                                   .weights_name = weights_name,
                                   .metadata = gguf_metadata,
                                   .write_companions = write_companions,
                                   .owns = owns,
                                   .file_bytes = file_bytes,
                                   .scheme_said = scheme_said};
  return kind;
}

}  // namespace kerf
