#include "pipeline/runs/tokenizer_path.h"

#include "formats/gguf.h"
#include "verify/artifact.h"

namespace kerf {
namespace fs = std::filesystem;

TokenizerSpec open_tokenizer(const fs::path& path) {
  if (is_gguf(path)) return gguf_tokenizer(*find_container("gguf").open(path));
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  if (fs::exists(folder / "tokenizer.json")) return read_tokenizer_spec(folder);
  return open_tokenizer(gguf_model_in(folder, "holds neither a tokenizer.json nor a GGUF file"));
}

}  // namespace kerf
