// How quantized repositories of the Hugging Face hub store a matrix: the reading side of each format, which shares no
// code with the layouts that write it.
//
// One file per format, stored_<name>.cc. A repository may hold several formats side by side; each takes its own
// tensors.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "formats/container.h"
#include "verify/artifact.h"

namespace kerf {

/// What a format may look at. The parts of one matrix can lie in different shards; `reader` finds them all.
struct QuantizedRepository {
  const Reader& reader;
  const nlohmann::json& quantization;  // quantization_config, an object
  std::string config_file;             // where it stands, for sentences
  Dtype model;                         // config.json's dtype

  /// Weights that share a scale along a row of `in` weights with so many scales; 0 for a scale per row, unless the
  /// configuration has groups of just that size.
  int64_t group_size(int64_t in, int64_t scales) const;
  /// A text of quantization_config, "" when there is none.
  std::string text(const char* key) const;
};

struct StoredFormat {
  std::string_view name;    // for people: "compressed-tensors pack-quantized"
  std::string_view family;  // Artifact::format: "compressed-tensors"
  std::string_view target;  // that loads it, in targets/
  /// Whether quantization_config says that tensors of this format may be here. Error bad_input or unsupported when it
  /// is this format, contradicting itself or in a variant that kerf does not read.
  bool (*recognises)(const QuantizedRepository&);
  /// Whether the tensor belongs to a packed matrix of this format.
  bool (*owns)(const QuantizedRepository&, const StoredTensor&);
  /// The matrix whose codes are in this tensor; nullopt for the tensors that come with codes. Needs owns(). Every
  /// matrix must be given once. Error bad_input when parts are missing or do not fit together. Bytes may be pointed to:
  /// they live as long as the reader.
  std::optional<StoredWeight> (*weight)(const QuantizedRepository&, const StoredTensor&);
};

std::span<const StoredFormat* const> all_storeds();

/// A StoredWeight with the names and the shape of a packed module's matrix, the rest to be filled in.
StoredWeight packed_weight(const std::string& module, int64_t out, int64_t in);

}  // namespace kerf
