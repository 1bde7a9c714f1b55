// Each step turns the list of strings into another, as in the library; only the result of the last one is joined.
#include "model/text/tokenizer_decode.h"

#include <algorithm>

#include "model/text/tokenizer_words.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

std::string join(const std::vector<std::string>& tokens, std::string_view between) {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += between;
    out += tokens[i];
  }
  return out;
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; !what.empty() && (at = text.find(what, begin)) != std::string_view::npos;) {
    out += text.substr(begin, at - begin);
    out += by;
    begin = at + what.size();
  }
  out += text.substr(begin);
  return out;
}

// The byte that a token like <0x0A> stands for, or -1.
int byte_of(std::string_view token) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of byte tokens is one string if the run is UTF-8 as a whole, otherwise one U+FFFD per byte.
std::vector<std::string> join_bytes(std::vector<std::string> tokens) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (find_invalid_utf8(run) == std::string::npos) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (std::string& token : tokens) {
    const int byte = byte_of(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  return out;
}

std::string strip(std::string_view token, const DecoderStep& step) {
  for (int64_t i = 0; i < step.start && token.starts_with(step.content); ++i) token.remove_prefix(step.content.size());
  for (int64_t i = 0; i < step.stop && token.ends_with(step.content); ++i) token.remove_suffix(step.content.size());
  return std::string(token);
}

}  // namespace

std::string decode_tokens(std::span<const DecoderStep> steps, std::vector<std::string> tokens) {
  if (steps.empty()) return join(tokens, " ");
  for (const DecoderStep& step : steps) {
    switch (step.kind) {
      case DecoderStep::Kind::byte_level: {
        std::string bytes;
        for (const std::string& token : tokens) bytes += letters_to_bytes(token);
        tokens.assign(1, utf8_lossy(bytes));
        break;
      }
      case DecoderStep::Kind::replace:
        for (std::string& token : tokens) token = replace_all(token, step.pattern, step.content);
        break;
      case DecoderStep::Kind::byte_fallback:
        tokens = join_bytes(std::move(tokens));
        break;
      case DecoderStep::Kind::fuse:
        tokens.assign(1, join(tokens, ""));
        break;
      case DecoderStep::Kind::strip:
        for (std::string& token : tokens) token = strip(token, step);
        break;
      case DecoderStep::Kind::metaspace:
        for (size_t i = 0; i < tokens.size(); ++i) {
          tokens[i] = replace_all(tokens[i], kMetaspace, i == 0 && step.prefix ? "" : " ");
        }
        break;
    }
  }
  return join(tokens, "");
}

}  // namespace kerf
