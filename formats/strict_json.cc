// nlohmann's lexer does the grammar. Its own error texts quote the input at any length, so only positions are kept.
#include "formats/strict_json.h"

#include "core/error.h"
#include "core/json.h"

namespace kerf {

bool StrictJson::parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
  fail(ErrorKind::bad_input, "{} is not valid JSON: damaged at byte {}", what_, position);
}

void StrictJson::parse(std::string_view text) {
  check_is_no_other_file(text, what_);
  check_json_text(text, what_, 32);  // headers and indices nest three deep
  nlohmann::json::sax_parse(text.begin(), text.end(), this);
}

void StrictJson::refuse(std::string_view found) const {
  fail(ErrorKind::bad_input, "{} has {} {}", what_, found, where());
}

}  // namespace kerf
