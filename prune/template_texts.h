// What a chat template itself says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kerf {

/// The texts that a Jinja template can put out of its own: what stands outside of its tags, and the string literals in
/// them (names of roles, turns). A superset, found without evaluating anything.
std::vector<std::string> template_texts(std::string_view jinja);

}  // namespace kerf
