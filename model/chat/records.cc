// Records are only found at first; each is parsed, rendered and encoded when its turn comes.
#include "model/chat/records.h"

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "model/chat/answers.h"
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

// The keys that say what a record is, with what stands under them.
struct Key {
  std::string_view name, holds;
};
constexpr Key kKeys[] = {{"messages", "a list"}, {"conversations", "a list"}, {"text", "a string"},
                         {"prompt", "a string"}, {"completion", "a string"},  {"instruction", "a string"},
                         {"output", "a string"}};
constexpr std::string_view kForms =
    "\"text\" nor \"messages\", \"conversations\", \"prompt\" with \"completion\" or \"instruction\" with \"output\"";

// One message of a chat ("role"), or one turn of ShareGPT's ("from"), and no record by itself.
bool is_message(const Value& v, std::string_view speaker) {
  const Dict* d = v.dict();
  return d && find(*d, speaker) && find_any(*d, {"content", "tool_calls", "value"}) &&
         std::none_of(std::begin(kKeys), std::end(kKeys), [&](const Key& k) { return find(*d, k.name); });
}
bool is_message(const Value& v) { return is_message(v, "role") || is_message(v, "from"); }
bool is_chat(const Value& v) { return v.list() && !v.list()->items.empty() && is_message(v.list()->items[0]); }

Value parsed_or_none(std::string_view json) {
  if (json.find_first_not_of(kSpace) == std::string_view::npos) return jinja::None{};
  try {
    return jinja::parse_json(json, "a line");
  } catch (const Error&) {
    return jinja::None{};
  }
}

bool is_record(std::string_view line) {
  const Value v = parsed_or_none(line);
  return v.dict() || is_chat(v);
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

// The command that makes a record of such a one that kerf reads, and what it does; "" where nothing is plain.
std::string way_to_read(const Dict& d) {
  constexpr std::string_view kAsked[] = {"prompt", "question", "query", "input", "instruction"},
                             kAnswered[] = {"chosen", "answer", "response", "completion", "output"};
  const auto there = [&](std::string_view name) { return find(d, name) != nullptr; };
  const auto asked = std::find_if(std::begin(kAsked), std::end(kAsked), there),
             answered = std::find_if(std::begin(kAnswered), std::end(kAnswered), there);
  if (answered != std::end(kAnswered) && asked != std::end(kAsked)) {
    const Value &question = *find(d, *asked), &answer = *find(d, *answered);
    if ((question.is_text() && answer.is_text()) || (question.list() && answer.list()))
      return fmt::format("`jq -c '{{prompt: .\"{}\", completion: .\"{}\"}}'` makes prompts with their answers", *asked,
                         *answered);
  }
  for (const auto& [key, value] : d.entries()) {
    if (is_chat(value))
      return fmt::format("`jq -c '{{{}: .\"{}\"}}'` makes conversations of one key",
                         is_message(value.list()->items[0], "role") ? "messages" : "conversations", key.text());
    if (value.list() && !value.list()->items.empty() && value.list()->items[0].dict())
      return fmt::format("`jq -c '.\"{}\"[]'` writes the records in it, a line each", key.text());
  }
  for (const auto& [key, value] : d.entries())
    if (value.is_text()) return fmt::format("`jq -c '{{text: .\"{}\"}}'` makes texts of one key", key.text());
  return "";
}

[[noreturn]] void fail_unknown(const Value& record, const std::string& where) {
  const Dict& d = *record.dict();
  if (is_message(record))
    fail(ErrorKind::bad_input,
         "{} is one message of a chat; a record is a whole conversation, {{\"messages\": [...]}}: `jq -sc '{{messages: "
         ".}}'` makes one of the messages of a file",
         where);
  for (const Key& key : kKeys)
    if (const Value* v = d.find_text(key.name); v && v->is<jinja::None>())
      fail(ErrorKind::bad_input, "{}: \"{}\" is null, not {}; leave such records out, or fill it in", where, key.name,
           key.holds);
  std::string keys;
  for (const auto& [key, value] : d.entries()) {
    if (keys.size() > 100) {
      keys += ", ...";
      break;
    }
    keys += fmt::format("{}\"{}\"", keys.empty() ? "" : ", ", key.text());
  }
  const std::string way = way_to_read(d);
  fail(ErrorKind::bad_input, "{} has neither {}; it has {}{}{}", where, kForms, keys.empty() ? "nothing" : keys,
       way.empty() ? "" : "; ", way);
}

[[noreturn]] void fail_no_object(const Value& v, const std::string& where) {
  std::string_view way;
  if (v.list() && !v.list()->items.empty() && is_chat(v.list()->items[0]))
    way = " (`jq -c '.[] | {messages: .}'` writes the conversations of a list on lines of their own)";
  else if (v.list())
    way = " (`jq -c '.[]'` writes the items of a list on lines of their own)";
  fail(ErrorKind::bad_input, "{} is a {}; each record is an object with \"text\" or \"messages\"{}", where,
       type_name(v), way);
}

// The content of a message in parts, as OpenAI's API has it: [{"type": "text", "text": ...}].
const jinja::Items* parts_of(const Value& message) {
  const Value* content = message.dict() ? find(*message.dict(), "content") : nullptr;
  return content && content->list() ? &content->list()->items : nullptr;
}

// As vLLM and llama.cpp's server join them.
std::string joined(const jinja::Items& parts, const std::string& model) {
  std::string text;
  for (const Value& part : parts) {
    const Value* of_part = part.dict() ? find(*part.dict(), "text") : nullptr;
    if (!of_part || !of_part->is_text()) {
      const Value* type = part.dict() ? find(*part.dict(), "type") : nullptr;
      fail(ErrorKind::bad_input,
           "the content of a message has a part that is no text ({}), and the chat template of {} takes texts only; "
           "leave such records out",
           type && type->is_text() ? "\"" + type->text() + "\"" : std::string(type_name(part)), model);
    }
    text += (&part == &parts.front() ? "" : "\n") + of_part->text();
  }
  return text;
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

// A conversation that is the whole list, and not the records of one.
bool Records::is_one_chat(const Scan& s) {
  return s.list && s.broken_at == 0 && !s.records.empty() && is_message(parsed_or_none(s.records[0].text));
}

bool holds_records(std::string_view text, const std::filesystem::path& file) {
  for (const char* extension : {".jsonl", ".ndjson", ".json"})
    if (file.extension() == extension) return true;
  std::string_view rest = without_mark(text);
  const std::string_view first = next_line(rest);
  if (first.empty() || (first[0] != '{' && first[0] != '[')) return false;
  if (is_record(first)) return true;
  const Records::Scan all = Records::scan(without_mark(text));
  if (all.broken_at == 0 && !all.records.empty()) {
    const std::string_view record = all.records[0].text;
    if (record[0] == '{' || record[0] == '"' || (record[0] == '[' && is_record(record))) return true;
  }
  return first[0] == '{' && is_record(next_line(rest));
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
  if (!list && (!first.starts_with('{') || is_record(first))) {
    read_lines(text);
    return;
  }
  Scan all = scan(text);
  if (all.broken_at == 0) {
    if (is_one_chat(all))
      records_ = {{text, all.records[0].line}};
    else
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

// Whether the template has a loop over the parts of a message: then it prints their text, and not what they are.
bool Records::template_takes_parts(Run& run, const ChatOptions& options) {
  if (takes_parts_) return *takes_parts_;
  constexpr std::string_view kWord = "kerfprobe";
  auto part = std::make_shared<Dict>();
  part->set(run, Value("type"), Value("text"));
  part->set(run, Value("text"), Value(std::string(kWord)));
  const Value asked = message(run, "user", jinja::make_list(run, {Value(part)}));
  takes_parts_ = false;
  try {
    const std::string text = template_->render(jinja::make_list(run, {asked}), options);
    const size_t at = text.find(kWord);
    takes_parts_ = at != text.npos && (at == 0 || (text[at - 1] != '\'' && text[at - 1] != '"'));
  } catch (const Error&) {
  }
  return *takes_parts_;
}

Document Records::rendered(Run& run, const Value& messages, const Value& tools, const ChatOptions& options) {
  if (!template_) template_ = ChatTemplate::of(spec_, model_);
  const auto in_parts = [](const Value& m) { return parts_of(m) != nullptr; };
  if (!messages.list() || std::none_of(messages.list()->items.begin(), messages.list()->items.end(), in_parts) ||
      template_takes_parts(run, options))
    return with_answers(run, messages, tools, options);
  jinja::Items all;
  for (const Value& m : messages.list()->items) {
    all.push_back(m);
    if (!in_parts(m)) continue;
    auto d = std::make_shared<Dict>(*m.dict());
    d->set(run, Value("content"), Value(joined(*parts_of(m), model_)));
    all.back() = Value(d);
  }
  return with_answers(run, jinja::make_list(run, std::move(all)), tools, options);
}

Document Records::with_answers(Run& run, const Value& messages, const Value& tools, const ChatOptions& options) {
  Document d{template_->render(messages, options, tools), true};
  if (!options.find_answers || !messages.list()) return d;
  const jinja::Items& all = messages.list()->items;
  const auto first = [&](size_t count, bool begins_answer) {
    ChatOptions part = options;
    part.add_generation_prompt = begins_answer;
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(count);
    return template_->render(jinja::make_list(run, jinja::Items(all.begin(), end)), part, tools);
  };
  try {
    d.answers = find_answers(d.text, all, first);
  } catch (const Error&) {
    d.answers = {{0, d.text.size()}};
    say_once("the template does not render a part of this chat alone, so all of it counts as answers", name_);
  }
  return d;
}

void Records::say_once(std::string_view what, const std::string& where) {
  if (said_.insert(std::string(what)).second) warn(fmt::format("{}: {}", where, what));
}

// A list, or one written as a string, as tables without nested columns have it.
Value Records::tools_of(const Dict& d, const std::string& where) {
  const Value* given = find(d, "tools");
  if (!given) return jinja::None{};
  if (given->list()) return *given;
  if (given->is_text()) {
    if (given->text().find_first_not_of(kSpace) == std::string::npos) return jinja::None{};
    if (Value tools = parsed_or_none(given->text()); tools.list()) return tools;
  }
  say_once("\"tools\" is neither a list nor one written as JSON in a string, and is left out", where);
  return jinja::None{};
}

// In front of messages that do not begin with one.
Value Records::with_system(Run& run, const Dict& d, const Value& messages, const std::string& where) {
  const Value* system = find(d, "system");
  if (!system || !messages.list() || text_of(*system, "system", where).empty()) return messages;
  jinja::Items all = messages.list()->items;
  const Dict* first = all.empty() ? nullptr : all[0].dict();
  const Value* role = first ? find(*first, "role") : nullptr;
  if (role && role->is_text() && role->text() == "system") {
    const Value* content = find(*first, "content");
    if (!content || !jinja::equal(run, *content, *system))
      say_once("\"system\" stands beside \"messages\" that begin with a system message, and is left out", where);
    return messages;
  }
  all.insert(all.begin(), message(run, "system", *system));
  return jinja::make_list(run, std::move(all));
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
  return rendered(run, jinja::make_list(run, std::move(messages)), jinja::None{}, options);
}

std::optional<Document> Records::read(Run& run, const Dict& d, const std::string& where, const ChatOptions& options) {
  const Value *given = find(d, "messages"), *turns = find(d, "conversations");
  for (const std::string_view key : {"text", "conversations"})
    if (const bool chat = given || (turns && key == "text"); chat && find(d, key))
      say_once(fmt::format("\"{}\" stands beside \"{}\", which are read, and is left out", key,
                           given ? "messages" : "conversations"),
               where);
  const Value tools = tools_of(d, where);
  if (given) return rendered(run, with_system(run, d, *given, where), tools, options);
  if (turns) {
    Value messages = messages_of(run, *turns, where);
    const Value* system = find(d, "system");
    if (system && !text_of(*system, "system", where).empty())
      messages.list()->items.insert(messages.list()->items.begin(), message(run, "system", *system));
    return rendered(run, messages, tools, options);
  }
  if (const Value* text = find(d, "text")) return Document{text_of(*text, "text", where), false};
  const Value *prompt = find(d, "prompt"), *completion = find_any(d, {"completion", "response"});
  if (prompt && completion) {
    if (prompt->list() && completion->list()) {
      jinja::Items messages = prompt->list()->items;
      messages.insert(messages.end(), completion->list()->items.begin(), completion->list()->items.end());
      return rendered(run, jinja::make_list(run, std::move(messages)), tools, options);
    }
    return pair(run, d, where, text_of(*prompt, "prompt", where), text_of(*completion, "completion", where), "",
                options);
  }
  const Value *instruction = find(d, "instruction"), *output = find_any(d, {"output", "response"});
  if (!instruction || !output) return std::nullopt;
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
  if (!d && !is_chat(value)) fail_no_object(value, where);
  Run run(where, {.steps = UINT64_MAX, .bytes = UINT64_MAX});
  try {
    if (!d) return rendered(run, messages_of(run, value, where), jinja::None{}, options);
    if (std::optional<Document> document = read(run, *d, where, options)) return *std::move(document);
    fail_unknown(value, where);
  } catch (const Error& e) {
    const std::string_view sentence = e.what();
    if (sentence.starts_with(where)) throw;
    throw Error(e.kind(), where + ": " + std::string(sentence));
  }
}

}  // namespace kerf
