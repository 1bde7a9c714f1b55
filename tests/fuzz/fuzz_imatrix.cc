// An importance matrix of either kind, and the way back.
#include "formats/imatrix.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  return fuzz::read([&] { read_imatrix(fuzz::folder().put("im", fuzz::text(data, size))); });
}
