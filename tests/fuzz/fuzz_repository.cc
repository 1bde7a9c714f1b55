// A repository of the hub, quantized or not: config.json and model.safetensors as two parts; a row of every matrix.
#include <vector>

#include "tests/fuzz/reader_fuzzer.h"
#include "verify/artifact.h"

namespace {

// One that is never in doubt: what is read here are weights.
constexpr const char* kTokenizer =
    R"({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
 "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  static const auto tokenizer = fuzz::folder().put("tokenizer.json", kTokenizer);
  std::string_view rest = fuzz::text(data, size);
  fuzz::folder().put("config.json", fuzz::next_part(rest));
  fuzz::folder().put("model.safetensors", rest);
  return fuzz::read([&] {
    const Artifact a = open_huggingface_artifact(fuzz::folder().path());
    for (const StoredWeight& w : a.weights->weights())
      if (w.info.shape.size() == 2 && w.info.shape[0] > 0 && w.info.shape[1] < 4096) {
        std::vector<float> row(static_cast<size_t>(w.info.shape[1]));
        a.weights->read(w.info, w.info.shape[0] - 1, row);
      }
  });
}
