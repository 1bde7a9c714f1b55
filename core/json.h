// The one door through which JSON text enters: config.json and the small files beside it, tokenizer.json, indices,
// headers, reports. What passes it can be walked, printed, copied and destroyed recursively without a thought.
//
// Every refusal is an Error bad_input whose sentence begins with `name`, what the reader calls the text
// ("a/config.json").
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace kerf {

/// Objects and lists within each other; files of models nest some eight deep.
inline constexpr int kJsonDepth = 64;

/// Refuses text that is not UTF-8, holds a zero byte (which some parsers take for the end), or nests objects and lists
/// more than `depth` deep. One pass, no memory; whether it is JSON is for the parser to say.
void check_json_text(std::string_view text, std::string_view name, int depth = kJsonDepth);

/// Refuses what is no JSON but a file of another kind, by name: an HTML page, an archive (core/stand_in.h).
void check_is_no_other_file(std::string_view text, std::string_view name);

/// One JSON value. As in Python's json module, which wrote most of these files, of equal keys in an object the last
/// counts, and NaN, Infinity and -Infinity are numbers.
nlohmann::json parse_json(std::string_view text, const std::string& name);
/// The same, keeping the order of keys.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& name);
/// The same for text whose damage means something to the caller: what would be refused is a discarded value
/// (is_discarded()), which is no object and no list.
nlohmann::ordered_json parse_json_or_discard(std::string_view text);
/// An object in a file of at most `most_bytes`. Error io when the file cannot be read.
nlohmann::json read_json_object(const std::filesystem::path&, uint64_t most_bytes = uint64_t{64} << 20);

/// The value as text that parse_json() reads back and Python's json module too: NaN and infinities by these names,
/// where dump() would write null. Otherwise as shown_json().
std::string json_text(const nlohmann::ordered_json&);

/// The value for readers: lines indented by two (-1: all in one line), bytes that are no UTF-8 (a file may be named by
/// them) as U+FFFD.
std::string shown_json(const nlohmann::ordered_json&, int indent = 2);

/// Where the text of a value begins and ends.
struct JsonSpan {
  size_t begin = 0, end = 0;
  bool operator==(const JsonSpan&) const = default;
};
/// Where the value at a path of keys ({"model", "vocab"}) stands in a text that parse_json() has accepted; nullopt when
/// it is not there. Of equal keys the last counts; keys written with escapes are not found. So that one value can be
/// replaced and every other byte stays.
std::optional<JsonSpan> find_json_value(std::string_view text, std::initializer_list<std::string_view> path);

/// A value as a sentence quotes it: JSON in ASCII, at most 60 characters, whatever the value holds and however deep it
/// is.
std::string short_json(const nlohmann::json&);

}  // namespace kerf
