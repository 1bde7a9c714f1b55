// The table of filters, in two parts.
#pragma once

#include <span>
#include <string_view>

#include "model/chat/jinja_interpreter.h"

namespace kerf::jinja {

struct FilterEntry {
  std::string_view name;
  Value (*filter)(Interpreter&, const Value& subject, const Arguments&);
};

std::span<const FilterEntry> list_filters();

}  // namespace kerf::jinja
