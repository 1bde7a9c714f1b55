#include "pipeline/runs/tokenizer_path.h"

#include "core/error.h"
#include "verify/artifact.h"

namespace kerf {
namespace fs = std::filesystem;

TokenizerSpec open_tokenizer(const fs::path& path) {
  if (path.extension() == ".gguf") return gguf_tokenizer(*find_container("gguf").open(path));
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  if (fs::exists(folder / "tokenizer.json")) return read_tokenizer_spec(folder);
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".gguf") return open_tokenizer(entry.path());
  fail(ErrorKind::io, "{} holds neither a tokenizer.json nor a .gguf file", folder.string());
}

}  // namespace kerf
