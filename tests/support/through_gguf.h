// A tokenizer as a runtime of GGUF files has it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/text/tokenizer.h"
#include "model/text/tokenizer_tables.h"

namespace kerf::test {

/// What is left of a spec when it has been through the keys of a GGUF file.
inline TokenizerSpec through_gguf(const TokenizerSpec& s) {
  TokenizerTables tables = tokenizer_tables(s, static_cast<int64_t>(s.tokens.size()));
  std::vector<TokenType> types;
  for (const int32_t type : tables.types) types.push_back(static_cast<TokenType>(type));
  return {.kind = s.kind,
          .pre = s.pre,
          .tokens = std::move(tables.tokens),
          .types = std::move(types),
          .scores = std::move(tables.scores),
          .merges = std::move(tables.merges),
          .bos = s.bos,
          .eos = s.eos,
          .unk = s.unk,
          .pad = s.pad,
          .add_bos = s.add_bos,
          .add_eos = s.add_eos,
          .add_space_prefix = s.add_space_prefix,
          .chat_template = s.chat_template};
}

}  // namespace kerf::test
