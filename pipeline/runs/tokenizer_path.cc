#include "pipeline/runs/tokenizer_path.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "formats/gguf.h"
#include "verify/artifact.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

std::string shown(const std::vector<fs::path>& names) {
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(kMost, names.size()); ++i) text += (i ? ", " : "") + names[i].filename().string();
  return names.size() > kMost ? text + ", ..." : text;
}

}  // namespace

TokenizerSpec open_tokenizer(const fs::path& path) {
  if (path.extension() == ".gguf") return gguf_tokenizer(*find_container("gguf").open(path));
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  if (fs::exists(folder / "tokenizer.json")) return read_tokenizer_spec(folder);
  std::vector<fs::path> files = gguf_models_in(folder);
  std::sort(files.begin(), files.end());
  if (files.size() == 1) return open_tokenizer(files.front());
  if (!files.empty())
    fail(ErrorKind::bad_input,
         "{} holds {} models in .gguf files ({}), and their tokenizers may differ; name one of them", folder.string(),
         files.size(), shown(files));
  fail(ErrorKind::io, "{} holds neither a tokenizer.json nor a .gguf file", folder.string());
}

}  // namespace kerf
