// What a repository of the Hugging Face hub needs beside its weights, of a source that may be a GGUF file: config.json,
// and a tokenizer.json that agrees with it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "verify/artifact.h"

namespace kerf {

inline constexpr const char* kGenerationConfig = "generation_config.json";

/// config.json of a source, without what it says of its own quantization: the file, or, of a GGUF, what its keys say
/// (write_config). Error unsupported when config.json cannot say how a GGUF turns its heads.
nlohmann::ordered_json config_of(const Artifact& source);

/// generation_config.json of a GGUF file with several tokens that end a text, of which config.json names one: what such
/// a file of the original model beside it says, and the ends that it lacks. null where that file, or a config.json
/// alone, says it all, and for all other sources.
nlohmann::ordered_json generation_config_of(const Artifact& source);

/// Error unsupported for a GGUF file whose config.json cannot be written, or that has no tokenizer.json beside it (it
/// does not follow from the tables of a GGUF: normalizer, splitting and special tokens are missing there); bad_input
/// for one with other tokens.
void check_hub_source(const Artifact&);

}  // namespace kerf
