// Python's methods of str, on valid UTF-8: positions are code points, white space is what str.isspace calls so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kerf::jinja {

/// Unicode's White_Space and the four separators U+001C to U+001F.
bool is_space(uint32_t code);
int64_t count_characters(std::string_view);
/// Bytes before character `index` (at most the length).
size_t byte_offset(std::string_view, int64_t index);

enum class Ends { both, left, right };
/// Without the characters of `chars` (white space when nullopt) at its ends.
std::string_view strip(std::string_view, std::optional<std::string_view> chars, Ends);

/// str.split(sep, most) and, from the right, str.rsplit; without a separator runs of white space part. `most` < 0: all.
/// REQUIRES: the separator is not empty.
std::vector<std::string_view> split(std::string_view, std::optional<std::string_view> separator, int64_t most,
                                    bool from_right);
std::vector<std::string_view> split_lines(std::string_view, bool keep_ends);
/// str.replace; `most` < 0: all.
std::string replace(std::string_view, std::string_view old, std::string_view with, int64_t most);
/// How often the part occurs without overlap; an empty one between all characters.
int64_t count(std::string_view, std::string_view part);

enum class Case { upper, lower, title, capitalize };
/// nullopt for characters whose capital or small form has several letters or depends on its neighbours (as that of
/// U+00DF): the table of those is not here.
std::optional<std::string> change_case(std::string_view, Case);

/// repr(text): in quotes, what cannot be printed escaped.
std::string quoted(std::string_view);

}  // namespace kerf::jinja
