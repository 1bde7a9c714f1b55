// Between JSON and the values of templates.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/chat/jinja_value.h"

namespace kerf::jinja {

/// Keys keep their order; of equal ones the last counts. Error bad_input when it is not one JSON value in UTF-8, or
/// nested deeper than 100; unsupported for integers past 64 bits. `what` is what errors call the text.
Value parse_json(std::string_view text, const std::string& what);

struct JsonStyle {
  std::optional<std::string> indent;  // one level's; without it all stands on one line
  std::string item = ", ", key = ": ";
  bool ascii = false;  // escape all else
  bool sort_keys = false;
};
/// Python's json.dumps.
std::string dump_json(Run&, const Value&, const JsonStyle&);

}  // namespace kerf::jinja
