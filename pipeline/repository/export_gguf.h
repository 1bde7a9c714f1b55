// The metadata that llama.cpp needs to load a model from one GGUF file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/container.h"
#include "model/arch/architecture.h"
#include "model/text/tokenizer_source.h"

namespace kerf {

/// Keys of general.*, <architecture>.* and tokenizer.*. `scheme` is a scheme of a GGUF target ("Q4_0"). The vocabulary
/// is filled up with unused tokens to the embedding's rows. Error bad_input when there is no tokenizer or it has more
/// tokens than the embedding has rows.
Metadata gguf_metadata(const Architecture&, const TokenizerSource&, const std::string& name, const std::string& scheme);

/// Modelfile of Ollama for that file in the same folder. Ollama takes the chat template and the end token from the
/// GGUF; further end tokens of the model (TokenizerSpec::ends) and its stop strings must be named.
std::string modelfile(const TokenizerSpec&, const std::string& file);

/// Where llama.cpp ends a text: at eos, eot and eom, whose ids a file names, and at tokens of certain texts
/// (src/llama-vocab.cpp, special_eog_ids). eot and eom are for ends of the spec that have no such text.
struct EndTokens {
  std::optional<int32_t> eot = {}, eom = {};
  std::vector<int32_t> left = {};  // ends for which no key is left: llama.cpp goes on behind them
};
EndTokens end_tokens(const TokenizerSpec&);
/// And the other way round: the tokens that a GGUF with this tokenizer names, eos first; and these with those at whose
/// texts llama.cpp ends one. Two such texts that end nothing beside others are left out, as in end_tokens().
std::vector<int32_t> ends_by_key(const TokenizerSpec&);
std::vector<int32_t> ends_in_llama_cpp(const TokenizerSpec&);

}  // namespace kerf
