// Records are only found at first; each is parsed, rendered and encoded when its turn comes.
#include "model/chat/records.h"

#include <algorithm>

#include "core/error.h"
#include "model/chat/jinja_json.h"

namespace kerf {

using jinja::Dict;
using jinja::Run;
using jinja::Value;

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpace = " \t\r\n\v\f";

std::string_view without_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

bool is_object(std::string_view line) {
  if (line.find_first_not_of(kSpace) == std::string_view::npos) return false;
  try {
    return jinja::parse_json(line, "a line").dict() != nullptr;
  } catch (const Error&) {
    return false;
  }
}

// The next line that is not blank, and what follows it.
std::string_view next_line(std::string_view& rest) {
  const size_t begin = rest.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return rest = {};
  const size_t end = std::min(rest.find('\n', begin), rest.size());
  const std::string_view line = rest.substr(begin, end - begin);
  rest.remove_prefix(end);
  return line;
}

// Past the JSON value that begins at `at`, by its brackets and quotes alone; npos when it does not end.
size_t value_end(std::string_view text, size_t at) {
  size_t depth = 0;
  do {
    if (text[at] == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
      if (at >= text.size()) return std::string_view::npos;
      ++at;
    } else if (text[at] == '{' || text[at] == '[') {
      ++depth;
      ++at;
    } else if (text[at] == '}' || text[at] == ']') {
      --depth;
      ++at;
    } else {
      at = text.find_first_of(depth ? "\"{}[]" : " \t\r\n\v\f,]", at + 1);
      if (at == std::string_view::npos) return depth ? at : text.size();
    }
  } while (depth && at < text.size());
  return depth ? std::string_view::npos : at;
}

const Value* find(const Dict& d, std::string_view key) {
  const Value* v = d.find_text(key);
  return v && !v->is<jinja::None>() ? v : nullptr;
}

const Value* find_any(const Dict& d, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys)
    if (const Value* v = find(d, key)) return v;
  return nullptr;
}

std::string text_of(const Value& v, std::string_view key, const std::string& where) {
  if (!v.is_text()) fail(ErrorKind::bad_input, "{}: \"{}\" is a {}, not a string", where, key, type_name(v));
  return v.text();
}

Value message(Run& run, const std::string& role, Value content) {
  auto d = std::make_shared<Dict>();
  d->set(run, Value("role"), Value(role));
  d->set(run, Value("content"), std::move(content));
  return Value(d);
}

std::string role_of(const std::string& from, const std::string& where) {
  if (from == "human" || from == "user") return "user";
  if (from == "gpt" || from == "assistant" || from == "chatgpt" || from == "model" || from == "bing" || from == "bard")
    return "assistant";
  if (from == "system") return "system";
  if (from == "tool" || from == "observation" || from == "function_response") return "tool";
  fail(ErrorKind::bad_input,
       "{}: in \"conversations\" something comes from \"{}\"; kerf knows human, gpt, system and tool", where, from);
}

// ShareGPT's turns as messages; what are messages already stay as they are.
Value messages_of(Run& run, const Value& turns, const std::string& where) {
  if (!turns.list()) fail(ErrorKind::bad_input, "{}: \"conversations\" is a {}, not a list", where, type_name(turns));
  jinja::Items messages;
  for (const Value& turn : turns.list()->items) {
    if (!turn.dict()) fail(ErrorKind::bad_input, "{}: a turn is a {}, not an object", where, type_name(turn));
    const Value *from = find(*turn.dict(), "from"), *value = find(*turn.dict(), "value");
    if (!from && find(*turn.dict(), "role")) {
      messages.push_back(turn);
      continue;
    }
    if (!from || !value)
      fail(ErrorKind::bad_input, "{}: a turn of \"conversations\" lacks \"{}\"", where, from ? "value" : "from");
    messages.push_back(
        message(run, role_of(text_of(*from, "from", where), where), Value(text_of(*value, "value", where))));
  }
  return jinja::make_list(run, std::move(messages));
}

// Alpaca's pairs of what was said before.
void add_history(Run& run, const Dict& d, const std::string& where, jinja::Items& messages) {
  const Value* history = find(d, "history");
  if (!history) return;
  const auto wrong = [&] { fail(ErrorKind::bad_input, "{}: \"history\" is not a list of pairs of strings", where); };
  if (!history->list()) wrong();
  for (const Value& pair : history->list()->items) {
    if (!pair.list() || pair.list()->items.size() != 2) wrong();
    for (size_t i = 0; i < 2; ++i) {
      if (!pair.list()->items[i].is_text()) wrong();
      messages.push_back(message(run, i == 0 ? "user" : "assistant", pair.list()->items[i]));
    }
  }
}

// What the record has instead, and how to make one of it that kerf reads.
[[noreturn]] void fail_unknown(const Dict& d, const std::string& where) {
  std::string keys, hint;
  for (const auto& [key, value] : d.entries()) {
    if (keys.size() > 100) {
      keys += ", ...";
      break;
    }
    keys += fmt::format("{}\"{}\"", keys.empty() ? "" : ", ", key.text());
    const bool list = value.list() && !value.list()->items.empty() && value.list()->items[0].dict();
    if (hint.empty() && list)
      hint = fmt::format("`jq -c '.\"{}\"[]'` writes the records in it, a line each", key.text());
    if (hint.empty() && value.is_text())
      hint = fmt::format("`jq -c '{{text: .\"{}\"}}'` makes texts of one key", key.text());
  }
  fail(ErrorKind::bad_input,
       "{} has neither \"text\" nor \"messages\", \"conversations\", \"prompt\" with \"completion\" or \"instruction\" "
       "with \"output\"; it has {}{}{}",
       where, keys.empty() ? "nothing" : keys, hint.empty() ? "" : "; ", hint);
}

}  // namespace

struct Records::Scan {
  std::vector<Record> records;
  bool list = false;     // of one list
  size_t broken_at = 0;  // line; 0: all of the text are records
};

Records::Scan Records::scan(std::string_view text) {
  Scan s;
  size_t at = 0, line = 1, counted = 0;
  const auto line_at = [&](size_t position) {
    line += static_cast<size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(counted),
                                           text.begin() + static_cast<std::ptrdiff_t>(position), '\n'));
    counted = position;
    return line;
  };
  const auto skip_space = [&] { at = std::min(text.find_first_not_of(kSpace, at), text.size()); };
  const auto broken = [&](size_t position) {
    s.broken_at = line_at(position);
    return s;
  };
  skip_space();
  s.list = at < text.size() && text[at] == '[';
  if (s.list) ++at;
  for (bool first = true;; first = false) {
    skip_space();
    if (s.list && at < text.size() && text[at] == ']' && first) break;
    if (at >= text.size()) {
      if (s.list) return broken(text.size());
      return s;
    }
    if (s.list ? text[at] == ',' || text[at] == ']' || text[at] == '}' : text[at] != '{') return broken(at);
    const size_t end = value_end(text, at);
    if (end == std::string_view::npos) return broken(at);
    s.records.push_back({text.substr(at, end - at), line_at(at)});
    at = end;
    skip_space();
    if (!s.list) continue;
    if (at < text.size() && text[at] == ']') break;
    if (at >= text.size() || text[at] != ',') return broken(std::min(at, text.size()));
    ++at;
  }
  ++at;
  skip_space();
  if (at < text.size()) return broken(at);
  return s;
}

bool holds_records(std::string_view text, const std::filesystem::path& file) {
  for (const char* extension : {".jsonl", ".ndjson", ".json"})
    if (file.extension() == extension) return true;
  std::string_view rest = without_mark(text);
  const std::string_view first = next_line(rest);
  if (first.empty() || (first[0] != '{' && first[0] != '[')) return false;
  if (is_object(first)) return true;
  const Records::Scan all = Records::scan(without_mark(text));
  if (all.broken_at == 0 && !all.records.empty() && (all.records[0].text[0] == '{' || all.records[0].text[0] == '"'))
    return true;
  return first[0] == '{' && is_object(next_line(rest));
}

bool begins_like_records(std::string_view text) {
  text = without_mark(text);
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos || (text[begin] != '{' && text[begin] != '[')) return false;
  const size_t inner = text.find_first_not_of(kSpace, begin + 1);
  return inner != std::string_view::npos && (text[inner] == '"' || (text[begin] == '[' && text[inner] == '{'));
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, const Document& d) {
  return tokenizer.encode(d.text, !d.rendered);
}

Records::Records(std::string_view text, std::string name, const TokenizerSpec& spec, std::string model)
    : name_(std::move(name)), model_(std::move(model)), spec_(spec) {
  text = without_mark(text);
  std::string_view rest = text;
  const std::string_view first = next_line(rest);
  const bool list = first.starts_with('[');
  if (!list && (!first.starts_with('{') || is_object(first))) {
    read_lines(text);
    return;
  }
  Scan all = scan(text);
  if (all.broken_at == 0) {
    records_ = std::move(all.records);
    return;
  }
  // A list on a line of its own is a record of the wrong kind among lines.
  if (list && value_end(first, 0) == std::string_view::npos)
    fail(ErrorKind::bad_input, "{}, line {}: the list of records that begins the text is broken there", name_,
         all.broken_at);
  read_lines(text);
}

void Records::read_lines(std::string_view text) {
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (line.find_first_not_of(kSpace) != std::string_view::npos) records_.push_back({line, number});
    begin = end + 1;
  }
}

Document Records::rendered(const Value& messages, const Value& tools, const ChatOptions& options) {
  if (!template_) template_ = ChatTemplate::of(spec_, model_);
  return {template_->render(messages, options, tools), true};
}

// What a user says and an assistant answers, with what the record says beside it.
Document Records::pair(Run& run, const Dict& d, const std::string& where, const std::string& user,
                       const std::string& assistant, std::string_view between, const ChatOptions& options) {
  const Value* system = find(d, "system");
  jinja::Items messages;
  if (system && !text_of(*system, "system", where).empty()) messages.push_back(message(run, "system", *system));
  add_history(run, d, where, messages);
  if (spec_.chat_template.empty()) {
    std::string text;
    for (const Value& m : messages) text += find(*m.dict(), "content")->text() + "\n\n";
    return {text + user + std::string(between) + assistant, false};
  }
  messages.push_back(message(run, "user", Value(user)));
  messages.push_back(message(run, "assistant", Value(assistant)));
  return rendered(jinja::make_list(run, std::move(messages)), jinja::None{}, options);
}

Document Records::read(Run& run, const Dict& d, const std::string& where, const ChatOptions& options) {
  const Value* given_tools = find(d, "tools");
  const Value tools = given_tools && given_tools->list() ? *given_tools : Value(jinja::None{});
  if (const Value* messages = find(d, "messages")) return rendered(*messages, tools, options);
  if (const Value* turns = find(d, "conversations")) {
    Value messages = messages_of(run, *turns, where);
    const Value* system = find(d, "system");
    if (system && !text_of(*system, "system", where).empty())
      messages.list()->items.insert(messages.list()->items.begin(), message(run, "system", *system));
    return rendered(messages, tools, options);
  }
  if (const Value* text = find(d, "text")) return {text_of(*text, "text", where), false};
  const Value *prompt = find(d, "prompt"), *completion = find_any(d, {"completion", "response"});
  if (prompt && completion) {
    if (prompt->list() && completion->list()) {
      jinja::Items messages = prompt->list()->items;
      messages.insert(messages.end(), completion->list()->items.begin(), completion->list()->items.end());
      return rendered(jinja::make_list(run, std::move(messages)), tools, options);
    }
    return pair(run, d, where, text_of(*prompt, "prompt", where), text_of(*completion, "completion", where), "",
                options);
  }
  const Value *instruction = find(d, "instruction"), *output = find_any(d, {"output", "response"});
  if (!instruction || !output) fail_unknown(d, where);
  std::string user = text_of(*instruction, "instruction", where);
  if (const Value* input = find_any(d, {"input", "context"}))
    if (const std::string more = text_of(*input, "input", where); !more.empty()) user += "\n\n" + more;
  return pair(run, d, where, user, text_of(*output, "output", where), "\n\n", options);
}

Document Records::document(size_t i, const ChatOptions& options) {
  const Record& record = records_.at(i);
  const std::string where = name_ + ", line " + std::to_string(record.line);
  const Value value = jinja::parse_json(record.text, where);
  if (value.is_text()) return {value.text(), false};
  const Dict* d = value.dict();
  if (!d)
    fail(ErrorKind::bad_input, "{} is a {}; each record is an object with \"text\" or \"messages\"{}", where,
         type_name(value), value.list() ? " (`jq -c '.[]'` writes the items of a list on lines of their own)" : "");
  Run run(where, {.steps = UINT64_MAX, .bytes = UINT64_MAX});
  try {
    return read(run, *d, where, options);
  } catch (const Error& e) {
    const std::string_view sentence = e.what();
    if (sentence.starts_with(where)) throw;
    throw Error(e.kind(), where + ": " + std::string(sentence));
  }
}

}  // namespace kerf
