// The interpreter with the variables that transformers gives it.
#include "model/chat/chat_template.h"

#include "model/chat/jinja_interpreter.h"
#include "model/chat/jinja_syntax.h"
#include "model/text/unicode.h"

namespace kerf {

using jinja::Dict;
using jinja::None;
using jinja::Run;
using jinja::Value;

struct ChatTemplate::Parts {
  std::string name;
  std::vector<std::pair<std::string, std::string>> tokens;
  jinja::Block body;
};

namespace {

// Drops keys without a value, and gives the thoughts of a model the names that templates know them by.
Value prepared(Run& run, const Value& message) {
  if (!message.dict()) run.wrong("a message is a {}, not an object with \"role\" and \"content\"", type_name(message));
  const Dict& given = *message.dict();
  Value reasoning(None{});
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* v = given.find_text(key);
    if (v && !v->is<None>()) {
      reasoning = *v;
      break;
    }
  }
  auto d = std::make_shared<Dict>();
  if (!reasoning.is<None>()) d->set(run, "thinking", reasoning);
  for (const auto& [key, value] : given.entries())
    if (!value.is<None>()) d->set(run, key, value);
  if (!reasoning.is<None>()) d->set(run, "reasoning_content", reasoning);
  return d;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, std::vector<std::pair<std::string, std::string>> tokens,
                           std::string name)
    : parts_(std::make_unique<Parts>()) {
  require_utf8(source, name);
  Run run(name);
  parts_->body = jinja::parse(run, source);
  parts_->name = std::move(name);
  parts_->tokens = std::move(tokens);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::of(const TokenizerSpec& spec, const std::string& model) {
  if (spec.chat_template.empty())
    fail(ErrorKind::bad_input,
         "{} has no chat template (chat_template.jinja, or \"chat_template\" in tokenizer_config.json), so messages "
         "cannot be rendered; give plain text or {{\"text\": ...}} lines, or add the template",
         model);
  auto tokens = spec.named_tokens;
  if (!spec.from_json) {  // a GGUF file numbers them
    const std::pair<const char*, std::optional<int32_t>> ids[] = {
        {"bos_token", spec.bos}, {"eos_token", spec.eos}, {"unk_token", spec.unk}, {"pad_token", spec.pad}};
    for (const auto& [name, id] : ids)
      if (id) tokens.emplace_back(name, spec.tokens.at(static_cast<size_t>(*id)));
  }
  return ChatTemplate(spec.chat_template, std::move(tokens), "the chat template of " + model);
}

std::string ChatTemplate::render(const Value& messages, const ChatOptions& options, const Value& tools) const {
  Run run(parts_->name);
  if (!messages.list()) run.wrong("the messages are a {}, not a list", type_name(messages));
  if (messages.list()->items.empty()) run.wrong("there are no messages");
  jinja::Items all;
  for (const Value& m : messages.list()->items) all.push_back(prepared(run, m));

  std::vector<std::pair<std::string, Value>> variables;
  for (const auto& [name, token] : parts_->tokens) variables.emplace_back(name, Value(token));
  variables.emplace_back("messages", jinja::make_list(run, std::move(all)));
  variables.emplace_back("tools", tools);
  variables.emplace_back("documents", None{});
  variables.emplace_back("add_generation_prompt", options.add_generation_prompt);
  return jinja::Interpreter(run, options.now).render(parts_->body, std::move(variables));
}

}  // namespace kerf
