// Sources: the specification of Git LFS (docs/spec.md); magic numbers of ZIP, gzip, GGUF, HDF5 and pickle.
#include "core/stand_in.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "core/error.h"
#include "core/words.h"

namespace kerf {
namespace {
using namespace std::literals;

constexpr size_t kPointerLimit = 1024;  // by the specification
constexpr size_t kQuoted = 60;

// The beginning in lower case without leading white space.
std::string beginning(std::string_view file) {
  const size_t at = file.substr(0, kPointerLimit).find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  return lower_case(at == file.npos ? ""sv : file.substr(at, 64));
}

bool printable(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r'; });
}

}  // namespace

std::string pointer_in_place_of(std::string_view file) {
  if (file.size() > kPointerLimit) return "";
  if (file.starts_with("version https://") && file.find("\noid sha256:") != file.npos)
    return "is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, or download the file";
  if (file.starts_with("../") && file.find("/blobs/") != file.npos && file.find('\n') == file.npos)
    return "is a link of the hub cache written as text, not the file itself: copy the cache with its links followed, "
           "or "
           "download the file";
  return "";
}

std::string head_of(const std::filesystem::path& path) {
  std::string head(kPointerLimit, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(in.gcount()));
  return head;
}

bool is_html_page(std::string_view file) {
  const std::string begins = beginning(file);
  return begins.starts_with("<!doctype html") || begins.starts_with("<html") || begins.starts_with("<head");
}

std::string seems_to_be(std::string_view file) {
  if (is_html_page(file)) return "an HTML page, as servers send instead of a file: download it again";
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kMagic = {{
      {"PK\x03\x04"sv, "a ZIP archive, as PyTorch's .bin and .pt files are"},
      {"\x1F\x8B"sv, "a file compressed by gzip"},
      {"\x28\xB5\x2F\xFD"sv, "a file compressed by zstd"},
      {"GGUF"sv, "a GGUF file"},
      {"\x89HDF"sv, "an HDF5 file"},
      {"\x80\x02}"sv, "a Python pickle, as old PyTorch files are"},
  }};
  for (const auto& [magic, what] : kMagic)
    if (file.starts_with(magic)) return std::string(what);
  const std::string_view head = file.substr(0, kQuoted);
  if (head.size() < 4 || !printable(head)) return "";
  const std::string_view line = head.substr(0, head.find_first_of("\r\n"));
  return line.empty() ? "" : "text that begins with '" + std::string(line) + "'";
}

void refuse_stand_in(std::string_view name, std::string_view wanted, std::string_view file, std::string_view to_do) {
  if (const std::string other = seems_to_be(file); !other.empty())
    fail(ErrorKind::bad_input, "{} is {}, but {}{}", name, wanted, other, to_do);
}

}  // namespace kerf
