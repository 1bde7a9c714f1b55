// Calibration text: plain UTF-8, or JSONL with a document or a chat per line, cut into windows of tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/chat/chat_template.h"
#include "model/text/tokenizer.h"
#include "model/text/windows.h"

namespace kerf {

/// Whether a text is JSONL: its file is called .jsonl or .ndjson, or its first line that is not blank is a JSON object.
bool is_json_lines(std::string_view text, const std::filesystem::path& file);

/// A text that a tokenizer begins and ends in its way (BOS, EOS), or one rendered by a chat template, which has put the
/// special tokens where they belong: nothing is added to it, and what spells a special token in it becomes that token.
struct Document {
  std::string text;
  bool rendered = false;
};
std::vector<int32_t> encode(const Tokenizer&, const Document&);

/// The documents of a JSONL text: each line that is not blank is {"text": "..."}, or {"messages": [...]} (with
/// {"tools": [...]} if it likes), rendered through the chat template of the tokenizer. Keeps references to the text and
/// the spec; lines are parsed when they are asked for. Errors name `name` and the line: bad_input for a line that is no
/// JSON object, or has neither of the two, or another type in it; and as ChatTemplate says.
class JsonLines {
 public:
  JsonLines(std::string_view text, std::string name, const TokenizerSpec& spec, std::string model);
  size_t size() const { return lines_.size(); }
  Document document(size_t i, const ChatOptions& = {});

 private:
  struct Line {
    std::string_view text;
    size_t number;
  };
  std::string name_, model_;
  const TokenizerSpec& spec_;
  std::vector<Line> lines_;
  std::optional<ChatTemplate> template_;  // made for the first chat
};

struct CalibrationWindows {
  int64_t count = 128;   // at most; fewer when the text is shorter
  int64_t length = 256;  // tokens
  uint64_t seed = 0;
};

/// Cuts a text into windows.
///   Plain text: as cut_windows does, BOS and length - 1 consecutive ids each, from the head of the text. With a seed,
///   `count` of all windows of the text are drawn without replacement.
///   JSONL: the ids of the documents stand back to back, each begun as the tokenizer begins a text (a rendered chat: as
///   its template does), and every `length` ids are a window. With a seed the documents are shuffled first. No more
///   lines are read than the windows need.
/// Seed 0 keeps the order of the file. The order of a seed depends on nothing else: document or window i goes by
/// splitmix64(seed + i * 2^64/golden ratio), then by i.
/// `name` is what errors call the text, `model` the model. Errors: usage for a length below 2 or a count below 1;
/// bad_input for a text that is not UTF-8 (with the offset) or fills no window (with the numbers), and as JsonLines
/// says.
Windows cut_calibration(const Tokenizer&, std::optional<int32_t> bos, std::string_view text,
                        const std::filesystem::path& name, const std::string& model, const CalibrationWindows&);

}  // namespace kerf
