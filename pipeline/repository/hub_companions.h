// What a repository of the Hugging Face hub needs beside its weights, of a source that may be a GGUF file: config.json,
// and a tokenizer.json that agrees with it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "verify/artifact.h"

namespace kerf {

/// config.json of a source, without what it says of its own quantization: the file, or, of a GGUF, what its keys say
/// (write_config). Error unsupported when config.json cannot say how a GGUF turns its heads.
nlohmann::ordered_json config_of(const Artifact& source);

/// Error unsupported for a GGUF file whose config.json cannot be written, or that has no tokenizer.json beside it (it
/// does not follow from the tables of a GGUF: normalizer, splitting and special tokens are missing there); bad_input
/// for one with other tokens.
void check_hub_source(const Artifact&);

}  // namespace kerf
