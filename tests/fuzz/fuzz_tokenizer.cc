// tokenizer.json, and a text through the tokenizer that it makes.
#include <vector>

#include "model/text/tokenizer.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  return fuzz::read([&] {
    const Tokenizer tokenizer(parse_tokenizer_json(fuzz::text(data, size), "tokenizer.json"));
    tokenizer.encode("The cut's 12345 \xC3\xA9t\xC3\xA9\n\n  <s>\xE4\xB8\xAD\xE6\x96\x87 end", true);
  });
}
