// The metadata that llama.cpp needs to load a model from one GGUF file.
#pragma once

#include <string>

#include "formats/container.h"
#include "model/architecture.h"
#include "model/tokenizer.h"

namespace kerf {

/// Keys of general.*, <architecture>.* and tokenizer.*. `scheme` is a scheme of a GGUF target ("Q4_0"). The vocabulary
/// is filled up with unused tokens to the embedding's rows. Error bad_input when there is no tokenizer or it has more
/// tokens than the embedding has rows.
Metadata gguf_metadata(const Architecture&, const TokenizerSpec&, const std::string& name, const std::string& scheme);

}  // namespace kerf
