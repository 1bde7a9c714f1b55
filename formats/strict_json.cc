// nlohmann's lexer does the grammar. Its own error texts quote the input at any length, so only positions are kept.
#include "formats/strict_json.h"

#include "core/error.h"
#include "formats/text.h"

namespace kerf {

bool StrictJson::parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
  fail(ErrorKind::bad_input, "{} is not valid JSON: damaged at byte {}", what_, position);
}

void StrictJson::parse(std::string_view text) {
  if (const auto bad = first_invalid_utf8(text))
    fail(ErrorKind::bad_input, "{} is not valid UTF-8 at byte {}; JSON must be", what_, *bad);
  // The lexer takes a zero byte for the end of the text and would not look at what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail(ErrorKind::bad_input, "{} has a zero byte at {}; JSON may not", what_, zero);
  nlohmann::json::sax_parse(text.begin(), text.end(), this);
}

void StrictJson::refuse(std::string_view found) const {
  fail(ErrorKind::bad_input, "{} has {} {}", what_, found, where());
}

}  // namespace kerf
