#pragma once
#include <string_view>
namespace kerf {
/// "0.1.0": the project version of the top CMakeLists.txt.
std::string_view version();
}  // namespace kerf
