#pragma once

#include <filesystem>
#include <string>

namespace kerf {

/// SHA-256 of a file in hexadecimal, as `sha256sum` and the hub print it. Error io.
std::string sha256_of(const std::filesystem::path&);

}  // namespace kerf
