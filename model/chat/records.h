// Texts that come as JSON: a record per line (JSONL), a list of records, or records one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/chat_template.h"
#include "model/text/tokenizer.h"

namespace kerf {

/// Whether a text holds records: its file is called .jsonl, .ndjson or .json, its first line that is not blank (or the
/// second, when the first begins like one) is a JSON object, or all of it is a list of objects or strings, or objects
/// one after the other.
bool holds_records(std::string_view text, const std::filesystem::path& file);
/// Whether a text without records begins as one with them does: a damaged file, most likely.
bool begins_like_records(std::string_view text);

/// A text that a tokenizer begins and ends in its way (BOS, EOS), or one rendered by a chat template, which has put the
/// special tokens where they belong: nothing is added to it, and what spells a special token in it becomes that token.
struct Document {
  std::string text;
  bool rendered = false;
  /// Where in a rendered chat what an assistant says stands, with what ends it, as [begin, end) in order; only where it
  /// was asked for. Where a part of the chat cannot be rendered alone it is the whole text.
  std::vector<std::pair<size_t, size_t>> answers = {};
};
std::vector<int32_t> encode(const Tokenizer&, const Document&);

/// The records of a text, each a document. The first of these keys that a record has says what it is:
///   "messages"       a chat: a list of {"role", "content"}, with {"tools": [...]} if it likes
///   "conversations"  the same, or ShareGPT's {"from", "value"}: human is user, gpt is assistant
///   "text"           a text
///   "prompt" with "completion" or "response": two texts, or two parts of a chat
///   "instruction" (Alpaca), with "input" or "context" if it likes, and "output" or "response"
/// and a string in place of a record is a text, a list of messages a chat; a text that is one such list is one chat.
/// "system" goes in front of a chat that does not begin with one, Alpaca's "history" of pairs behind it. Content in
/// parts, [{"type": "text", "text": ...}], is joined with line feeds for templates that take strings. What of these a
/// record has beside what is read is said once. Chats are rendered through the template of the tokenizer; the two last
/// are chats, too, where there is one (user and assistant), otherwise their parts follow each other, Alpaca's with a
/// blank line between them. null is no value.
///
/// Keeps references to the text and the spec; records are parsed when they are asked for. Errors name `name` and the
/// line: bad_input for a record that is none of these, or has another type in it; and as ChatTemplate says.
class Records {
 public:
  /// Error bad_input for a list that does not end.
  Records(std::string_view text, std::string name, const TokenizerSpec& spec, std::string model);
  size_t size() const { return records_.size(); }
  Document document(size_t i, const ChatOptions& = {});

 private:
  struct Record {
    std::string_view text;
    size_t line;
  };
  struct Scan;
  static Scan scan(std::string_view text);
  friend bool holds_records(std::string_view, const std::filesystem::path&);

  void read_lines(std::string_view text);
  static bool is_one_chat(const Scan&);
  bool template_takes_parts(jinja::Run&, const ChatOptions&);
  Document with_answers(jinja::Run&, const jinja::Value& messages, const jinja::Value& tools, const ChatOptions&);
  Document rendered(jinja::Run&, const jinja::Value& messages, const jinja::Value& tools, const ChatOptions&);
  void say_once(std::string_view what, const std::string& where);
  jinja::Value tools_of(const jinja::Dict&, const std::string& where);
  jinja::Value with_system(jinja::Run&, const jinja::Dict&, const jinja::Value& messages, const std::string& where);
  Document pair(jinja::Run&, const jinja::Dict&, const std::string& where, const std::string& user,
                const std::string& assistant, std::string_view between, const ChatOptions&);
  /// nullopt for a record of none of the forms.
  std::optional<Document> read(jinja::Run&, const jinja::Dict&, const std::string& where, const ChatOptions&);

  std::string name_, model_;
  const TokenizerSpec& spec_;
  std::vector<Record> records_;
  std::optional<ChatTemplate> template_;  // made for the first chat
  std::optional<bool> takes_parts_;       // whether it does, once a message in parts was met
  std::set<std::string> said_;
};

}  // namespace kerf
