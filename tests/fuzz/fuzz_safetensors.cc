// A .safetensors file; and, as far as it is text, an index.
#include "formats/safetensors.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  const std::string_view bytes = fuzz::text(data, size);
  fuzz::read([&] { parse_safetensors_index(bytes, "index"); });
  return fuzz::read([&] { open_safetensors(fuzz::folder().put("f.safetensors", bytes)); });
}
