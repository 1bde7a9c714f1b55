// Mixtures of GGUF types: which type llama-quantize gives each matrix of a model under one name ("Q4_K_M"), so that
// files of the same name have the same size. A pure scheme ("Q4_K-pure") gives all matrices one type (llama-quantize
// --pure). A type that cannot hold the rows of a matrix falls back to another one. Source: src/llama-quant.cpp and
// include/llama.h (file types) of llama.cpp v0.5.0.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "targets/target.h"

namespace kerf {

struct GgufMixture {
  std::string_view name, text;
  std::string_view base;   // the type of what no rule concerns, as ggml_type.h spells it
  uint32_t file_type = 0;  // general.file_type
};

std::span<const GgufMixture> gguf_mixtures();

/// The scheme of files whose matrices each have a type of their own, by overrides.
constexpr std::string_view kMixedScheme = "mixed";

/// "q4_k" gives "Q4_K_M" (an alias of llama-quantize), "q4_k-pure" gives "Q4_K-pure"; "" when it is neither a mixture
/// nor a type.
std::string canonical_gguf_scheme(std::string_view);
/// The same for one matrix, where a type's name means that type: "q4_k" gives "Q4_K-pure".
std::string canonical_gguf_scheme_of_matrix(std::string_view);

/// What general.file_type says of a canonical scheme.
uint32_t gguf_file_type(std::string_view scheme);
/// The mixture of which general.file_type says so; nullptr when there is none.
const GgufMixture* gguf_mixture_of_file_type(int64_t file_type);

/// The type that a canonical scheme wants for a matrix, whatever its width.
std::string_view wanted_gguf_type(std::string_view scheme, const SiteShape&);
/// The type itself when its blocks divide a row of `in` weights, else the one that llama-quantize takes instead, F16
/// when nothing divides; "" for the types that have no substitute (llama-quantize gives up).
std::string_view fitting_gguf_type(std::string_view type, int64_t in);

/// The layout of a type; nullptr when kerf does not write it.
const Layout* gguf_layout(std::string_view type);
/// Schemes of one matrix with rows of `in` weights ("Q4_K-pure") among which a file's size can be allocated: all from
/// 2 bits up that kerf writes and that need no substitute.
std::vector<std::string> gguf_site_schemes(int64_t in);

}  // namespace kerf
