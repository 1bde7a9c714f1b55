#include "model/text/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/stand_in.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What begins with what, and the command that makes text of it; {} is the file.
struct Format {
  std::string_view begins;
  std::string_view is;
  std::string_view convert;
};
using namespace std::string_view_literals;
constexpr std::string_view kFromParquet =
    "`python3 -c \"import pandas; pandas.read_parquet('{0}').to_json('text.jsonl', orient='records', lines=True)\"`";
constexpr std::string_view kFromArrow =
    "`python3 -c \"import datasets; datasets.Dataset.from_file('{0}').to_json('text.jsonl')\"`";
constexpr Format kFormats[] = {
    {"\x1F\x8B"sv, "compressed by gzip", "`gzip -dc {0}`"},
    {"\x28\xB5\x2F\xFD"sv, "compressed by Zstandard", "`zstd -dc {0}`"},
    {"BZh"sv, "compressed by bzip2", "`bzip2 -dc {0}`"},
    {"\xFD\x37zXZ"sv, "compressed by xz", "`xz -dc {0}`"},
    {"\x04\x22\x4D\x18"sv, "compressed by lz4", "`lz4 -dc {0}`"},
    {"PK\x03\x04"sv, "a zip archive", "`unzip -p {0}`"},
    {"PAR1"sv, "a Parquet file", kFromParquet},
    {"ARROW1"sv, "an Arrow file", kFromArrow},
    {"\xFF\xFF\xFF\xFF"sv, "an Arrow stream", kFromArrow},
    {"%PDF-"sv, "a PDF file", "`pdftotext {0} -`"},
    {"SQLite format 3"sv, "an SQLite database", "a query that prints its text"},
    {"\x93NUMPY"sv, "a NumPy array", "a program that writes its text"},
    {"GGUF"sv, "a GGUF model", "a text in place of it"},
    {"\x7F"
     "ELF"sv,
     "a program", "a text in place of it"},
};

[[noreturn]] void refuse_format(const std::string& name, std::string_view is, std::string_view convert) {
  std::string command(convert);
  if (const size_t at = command.find("{0}"); at != std::string::npos)
    command.replace(at, 3, name == text_name("-") ? "FILE" : name);
  fail(ErrorKind::bad_input,
       "{} is {}, not text; give what {} makes of it: plain UTF-8, or JSONL with a record per line", name, is, command);
}

bool is_control(unsigned char c) { return c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\v'; }

constexpr size_t kMostBytes = size_t{1} << 31;

std::string read_to_end(int fd, const std::string& name) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorKind::io, "{} cannot be read: {}", name, std::strerror(errno));
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.size() > kMostBytes) fail(ErrorKind::bad_input, "{} has more than {} bytes", name, kMostBytes);
  }
}

// Such as <(zcat text.gz) of a shell.
bool is_pipe(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::is_fifo(status) || fs::is_character_file(status) || fs::is_socket(status);
}

// What can be read only once.
const std::string& read_stream(const fs::path& path) {
  static std::map<fs::path, std::string> known;
  const auto at = known.find(path);
  if (at != known.end()) return at->second;
  if (is_standard_input(path)) return known[path] = read_to_end(STDIN_FILENO, text_name(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(ErrorKind::io, "{} cannot be opened: {}", path.string(), std::strerror(errno));
  try {
    known[path] = read_to_end(fd, path.string());
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
  return known[path];
}

// UTF-16 without a mark: every other byte of an English text is 0.
std::string_view utf16_without_mark(std::string_view bytes) {
  const size_t n = std::min<size_t>(bytes.size(), 4096) / 2 * 2;
  size_t even = 0, odd = 0;
  for (size_t i = 0; i < n; ++i) (i % 2 ? odd : even) += bytes[i] == 0;
  if (n >= 4 && even == 0 && odd * 4 > n) return "UTF-16LE";
  if (n >= 4 && odd == 0 && even * 4 > n) return "UTF-16BE";
  return "";
}

}  // namespace

bool is_standard_input(const fs::path& path) { return path == "-"; }
std::string text_name(const fs::path& path) { return is_standard_input(path) ? "standard input" : path.string(); }

void require_text(std::string_view bytes, const std::string& name) {
  for (const Format& f : kFormats)
    if (bytes.starts_with(f.begins) && (f.begins != "BZh" || find_invalid_utf8(bytes) != std::string_view::npos))
      refuse_format(name, f.is, f.convert);
  if (bytes.size() > 262 && bytes.substr(257).starts_with("ustar"))
    refuse_format(name, "a tar archive", "`tar -xOf {0}`");
  if (const std::string what = pointer_in_place_of(bytes); !what.empty())
    fail(ErrorKind::bad_input, "{} {}", name, what);
  const auto other_encoding = [&](std::string_view encoding) {
    fail(ErrorKind::bad_input, "{} is {}, not UTF-8; convert it: `iconv -f {} -t UTF-8`", name, encoding, encoding);
  };
  if (bytes.starts_with("\xFF\xFE\0\0"sv) || bytes.starts_with("\0\0\xFE\xFF"sv)) other_encoding("UTF-32");
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) other_encoding("UTF-16");
  if (const std::string_view encoding = utf16_without_mark(bytes); !encoding.empty()) other_encoding(encoding);
  const size_t invalid = find_invalid_utf8(bytes);
  const std::string_view head = bytes.substr(0, 4096);
  const auto controls = static_cast<size_t>(
      std::count_if(head.begin(), head.end(), [](char c) { return is_control(static_cast<unsigned char>(c)); }));
  const size_t zero = invalid == std::string_view::npos ? invalid : bytes.find('\0');
  if (zero != std::string_view::npos || controls * 20 > head.size())
    fail(ErrorKind::bad_input, "{} is binary data, not text: {}; give plain UTF-8, or JSONL with a record per line",
         name,
         zero != std::string_view::npos
             ? fmt::format("byte {} is 0 and byte {} belongs to no character", zero, invalid)
             : fmt::format("{} of its first {} bytes are control characters", controls, head.size()));
  if (invalid == std::string_view::npos) return;
  fail(
      ErrorKind::bad_input,
      "{} is not UTF-8: byte {} belongs to no character; convert it, for instance by `iconv -f ISO-8859-1 -t UTF-8` if "
      "that is what it is",
      name, invalid);
}

std::string read_text_file(const fs::path& path) {
  if (fs::is_directory(path))
    fail(ErrorKind::bad_input, "{} is a folder; give one file, or all of them by `--text <(cat {}/*)` or the like",
         path.string(), path.string());
  std::string text = is_standard_input(path) || is_pipe(path) ? read_stream(path) : read_text(path);
  require_text(text, text_name(path));
  if (is_html_page(text)) warn(fmt::format("{} is an HTML page, and its tags count as text", text_name(path)));
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return text;
}

}  // namespace kerf
