// config.json of every family, and the way back.
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "model/arch/family.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  return fuzz::read([&] {
    const Architecture a = describe_architecture(parse_json(fuzz::text(data, size), "config.json"));
    describe_architecture(nlohmann::json(write_config(a)));
  });
}
