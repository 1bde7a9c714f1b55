// The text that a user gives: a file or standard input, refused by name where it is no text.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kerf {

/// "-", which stands for standard input.
bool is_standard_input(const std::filesystem::path&);
/// What sentences and reports call it.
std::string text_name(const std::filesystem::path&);

/// The whole text of a file, a pipe, or standard input for "-"; what can be read only once is remembered. A UTF-8 byte
/// order mark is left out. Error io when it cannot be read; bad_input for compressed files, Parquet, Arrow, archives,
/// other known formats, Git LFS pointers, other encodings and binary data, with what to do.
std::string read_text_file(const std::filesystem::path&);
/// The check alone: `bytes` are the whole content. `name` is what errors call it.
void require_text(std::string_view bytes, const std::string& name);

}  // namespace kerf
