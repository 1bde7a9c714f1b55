// The metadata that llama.cpp needs to load a model from one GGUF file.
#pragma once

#include <string>

#include "formats/container.h"
#include "model/arch/architecture.h"
#include "model/text/tokenizer.h"

namespace kerf {

/// Keys of general.*, <architecture>.* and tokenizer.*. `scheme` is a scheme of a GGUF target ("Q4_0"). The vocabulary
/// is filled up with unused tokens to the embedding's rows. Error bad_input when there is no tokenizer or it has more
/// tokens than the embedding has rows.
Metadata gguf_metadata(const Architecture&, const TokenizerSpec&, const std::string& name, const std::string& scheme);

/// Modelfile of Ollama for that file in the same folder. Ollama takes the chat template and the end token from the
/// GGUF; only further end tokens of the model must be named.
std::string modelfile(const Architecture&, const TokenizerSpec&, const std::string& file);

}  // namespace kerf
