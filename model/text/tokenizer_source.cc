#include "model/text/tokenizer_source.h"

#include "core/log.h"

namespace kerf {

const TokenizerSpec& TokenizerSource::operator()() const {
  std::call_once(state_->once, [this] {
    state_->spec = state_->read();
    for (const std::string& remark : state_->spec.remarks) warn(remark);
  });
  return state_->spec;
}

}  // namespace kerf
