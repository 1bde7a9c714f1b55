// One row per id; the ids are the indices.
#include "formats/ggml_type.h"

#include <array>

#include "core/checked.h"
#include "formats/shape.h"

namespace kerf {
namespace {

constexpr std::array<GgmlType, 43> kTypes = {{
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {4, "Q4_2", 0, 0},        {5, "Q4_3", 0, 0},        {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},         {25, "I16", 1, 2},        {26, "I32", 1, 4},        {27, "I64", 1, 8},
    {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {31, "Q4_0_4_4", 0, 0},
    {32, "Q4_0_4_8", 0, 0},   {33, "Q4_0_8_8", 0, 0},   {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},
    {36, "IQ4_NL_4_4", 0, 0}, {37, "IQ4_NL_4_8", 0, 0}, {38, "IQ4_NL_8_8", 0, 0}, {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
}};

constexpr bool ids_are_indices() {
  for (uint32_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].id != i) return false;
  return true;
}
static_assert(ids_are_indices());

}  // namespace

std::span<const GgmlType> ggml_types() { return kTypes; }

const GgmlType* find_ggml_type(uint32_t id) { return id < kTypes.size() ? &kTypes[id] : nullptr; }

const GgmlType* find_ggml_type(std::string_view name) {
  for (const GgmlType& t : kTypes)
    if (t.name == name) return &t;
  return nullptr;
}

uint64_t ggml_bytes(const GgmlType& type, std::span<const int64_t> shape, std::string_view what) {
  if (type.withdrawn())
    fail(ErrorKind::unsupported, "{} has the type {}, which GGUF has withdrawn; quantize the model again", what,
         type.name);
  const int64_t elements = elements_of_stored_shape(shape, what);
  const int64_t fastest = shape.empty() ? 1 : shape.back();
  if (fastest % type.block != 0)
    fail(ErrorKind::bad_input, "{} has rows of {} elements; {} needs a multiple of {}", what, fastest, type.name,
         type.block);
  return static_cast<uint64_t>(checked_mul(elements / type.block, type.block_bytes, what));
}

}  // namespace kerf
