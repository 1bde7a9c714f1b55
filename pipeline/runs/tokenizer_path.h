#pragma once

#include <filesystem>

#include "model/text/tokenizer.h"

namespace kerf {

/// The tokenizer of a folder with tokenizer.json (weights or not), of a file in such a folder, of a GGUF file (with
/// weights or only a vocabulary), or of a folder that holds exactly one, its shards
/// counted as one. Error bad_input with their names where a folder holds several, or nothing of either.
TokenizerSpec open_tokenizer(const std::filesystem::path&);

}  // namespace kerf
