// The tokens of a Jinja template, with the white space of its text already cut as trim_blocks, lstrip_blocks and the
// signs beside the tags ask for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/chat/jinja_value.h"

namespace kerf::jinja {

struct Token {
  enum class Kind {
    data,            // text outside of tags
    variable_begin,  // {{
    variable_end,    // }}
    block_begin,     // {%
    block_end,       // %}
    name,
    string,  // its value, escapes resolved
    integer,
    floating,
    op,  // spelled as in the template
    end,
  };
  Kind kind = Kind::end;
  std::string text = {};
  int64_t integer = 0;
  double floating = 0;
  int line = 1;

  bool is(Kind k, std::string_view t) const { return kind == k && text == t; }
  bool is_op(std::string_view t) const { return is(Kind::op, t); }
  bool is_name(std::string_view t) const { return is(Kind::name, t); }
};

/// The last token is `end`. Takes valid UTF-8. Comments are gone. Error bad_input where Jinja finds a syntax error,
/// unsupported for names outside ASCII, integers past 64 bits and \N{...}; both through `run`, with the line.
std::vector<Token> tokenize(Run& run, std::string_view source);

}  // namespace kerf::jinja
