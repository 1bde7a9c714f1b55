// GGUF: one file says everything, tokenizer and all; several are its shards. Ollama wants a Modelfile beside it, and
// reads a model from one file only.
#include <algorithm>
#include <set>

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

// Of a source that is a GGUF file itself: its tokenizer key by key, and what it says of itself in general.*.
void carry_over(const Artifact& source, Metadata& to) {
  if (source.format != kGgufFormat) return;
  const Metadata& from = source.weights->reader().metadata();
  constexpr std::string_view kTokenizer = "tokenizer.", kGeneral = "general.";
  // Of the file that was read, not of the numbers.
  const auto of_the_file = [](std::string_view key) {
    return key == kGgufAlignmentKey || key == "general.file_type" || key == "general.quantization_version" ||
           key == "general.quantized_by";
  };
  std::erase_if(to, [&](const auto& entry) { return entry.first.starts_with(kTokenizer); });
  size_t end_of_general = 0;
  while (end_of_general < to.size() && to[end_of_general].first.starts_with(kGeneral)) ++end_of_general;
  for (const auto& [key, value] : from) {
    if (key.starts_with(kTokenizer)) to.emplace_back(key, value);
    if (!key.starts_with(kGeneral) || of_the_file(key)) continue;
    const auto same = std::find_if(to.begin(), to.end(), [&k = key](const auto& entry) { return entry.first == k; });
    if (same != to.end())
      same->second = value;
    else
      to.emplace(to.begin() + static_cast<std::ptrdiff_t>(end_of_general++), key, value);
  }
}

std::vector<fs::path> write_companions(const RepositoryContent& c) {
  std::vector<fs::path> written = copy_licences(c.source.path, c.folder);
  if (c.weights.size() > 1) return written;
  const fs::path path = c.folder / kModelfile;
  write_text(path, modelfile(c.source.tokenizer(), c.plan.file_name));
  written.insert(written.begin(), path);
  return written;
}

// The Modelfile names it, so that Ollama runs the model as it was measured.
std::vector<fs::path> write_adapter(const AdapterFactors& factors, const Artifact& packed) {
  std::vector<fs::path> files = write_gguf_adapter(factors, packed);
  const fs::path folder = packed.path.parent_path();
  if (fs::exists(folder / kModelfile))
    write_text(folder / kModelfile, fmt::format("{}ADAPTER ./{}\n", read_text(folder / kModelfile),
                                                files.front().lexically_relative(folder).string()));
  return files;
}

std::vector<std::string> remarks(const Artifact& source) {
  const TokenizerSpec& t = source.tokenizer();
  std::string names;
  for (const int32_t id : end_tokens(t).left)
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", t.tokens[static_cast<size_t>(id)], id);
  std::vector<std::string> said;
  if (!names.empty())
    said.push_back(
        fmt::format("a GGUF file has keys for three tokens that end a text, and the model has more: llama.cpp goes on "
                    "behind {} unless told to stop there (--reverse-prompt); the Modelfile names them all",
                    names));
  if (!t.stop_strings.empty())
    said.push_back(
        fmt::format("a GGUF file has no key for texts that end an answer, and generation_config.json names {} in "
                    "stop_strings: llama.cpp goes on behind them unless told to stop there (--reverse-prompt); the "
                    "Modelfile names them all",
                    t.stop_strings.size() == 1 ? "one" : std::to_string(t.stop_strings.size())));
  return said;
}

// Licences are not among them, as in repository_huggingface.cc.
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
                                   .carry_over = carry_over,
                                   .write_companions = write_companions,
                                   .write_adapter = write_adapter,
                                   .adapter_bytes = gguf_adapter_bytes,
                                   .owns = owns,
                                   .remarks = remarks,
                                   .scheme_said = scheme_said};
  return kind;
}

}  // namespace kerf
