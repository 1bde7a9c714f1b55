// A GGUF file: its container, then what it says of model and tokenizer, then a row of every matrix.
#include <vector>

#include "formats/gguf.h"
#include "tests/fuzz/reader_fuzzer.h"
#include "verify/artifact.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  const auto path = fuzz::folder().put("f.gguf", fuzz::text(data, size));
  fuzz::read([&] { gguf_tokenizer(*open_gguf(path)); });
  return fuzz::read([&] {
    const Artifact a = open_gguf_artifact(path);
    for (const StoredWeight& w : a.weights->weights())
      if (w.info.shape.size() == 2 && w.info.shape[0] > 0 && w.info.shape[1] < 4096) {
        std::vector<float> row(static_cast<size_t>(w.info.shape[1]));
        a.weights->read(w.info, 0, row);
      }
  });
}
