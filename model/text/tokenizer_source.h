// A tokenizer that is read when it is first asked for.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "model/text/tokenizer.h"

namespace kerf {

/// The tokenizer of a model. Most of what is done with a model needs none, and then one that is absent, damaged or of
/// an unknown kind is no fault. Copies share what was read. Thread-safe.
class TokenizerSource {
 public:
  TokenizerSource() : TokenizerSource([] { return TokenizerSpec{}; }) {}
  explicit TokenizerSource(std::function<TokenizerSpec()> read) : state_(std::make_shared<State>()) {
    state_->read = std::move(read);
  }

  /// Its spec, without tokens where the model has no tokenizer. Its remarks are printed when it is read. Errors as the
  /// reader says, at every call.
  const TokenizerSpec& operator()() const;

 private:
  struct State {
    std::once_flag once;
    std::function<TokenizerSpec()> read;
    TokenizerSpec spec;
  };
  std::shared_ptr<State> state_;
};

}  // namespace kerf
