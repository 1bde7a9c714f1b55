// What lies where a file of a model should be: a download that was not made, or the answer of a server kept under the
// file's name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// "is a Git LFS pointer, ..." with what to do, when a whole file is such a pointer or a link of the hub cache written
/// as text; "" for everything else. No file of a model looks like these.
std::string pointer_in_place_of(std::string_view file);

/// As much of a file's beginning as these functions look at; "" when it cannot be read.
std::string head_of(const std::filesystem::path&);

/// By its first tag.
bool is_html_page(std::string_view file);

/// What a file that is not what was expected seems to be, by its first bytes: "an HTML page, as ...", "a ZIP archive,
/// as ...", "text that begins with '...'". "" when nothing can be said, or when it is empty.
std::string seems_to_be(std::string_view file);

/// Error bad_input, "NAME is WANTED, but ...", where its first bytes say what it seems to be; `wanted`: "no JSON".
/// `to_do` ends the sentence.
void refuse_stand_in(std::string_view name, std::string_view wanted, std::string_view file,
                     std::string_view to_do = "");
inline void refuse_stand_in(std::string_view name, std::string_view wanted, std::span<const std::byte> file) {
  refuse_stand_in(name, wanted, std::string_view(reinterpret_cast<const char*>(file.data()), file.size()));
}

}  // namespace kerf
