// A recipe, or a report as one; and the way through JSON.
#include <nlohmann/json.hpp>

#include "pipeline/plan/recipe.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  return fuzz::read([&] {
    const Recipe r = read_recipe(fuzz::folder().put("r.yaml", fuzz::text(data, size)));
    recipe_from_json(to_json(r));
  });
}
