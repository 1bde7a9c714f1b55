// A model's chat template: messages in, the text that the model was trained to read out.
//
// Templates are written in Jinja, for Hugging Face transformers. kerf interprets them as its apply_chat_template does
// (trim_blocks and lstrip_blocks on; json.dumps behind tojson; raise_exception, strftime_now, namespace and dict at
// hand; {% generation %}, {% break %} and {% continue %} known; nothing of what is given can be changed), and refuses
// what it does not know by its name and line: includes and inheritance, recursive loops, *arguments, formatting with
// % or format, and the filters and methods listed as lacking in jinja_*.cc.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/jinja_value.h"
#include "model/text/tokenizer.h"

namespace kerf {

/// What strftime_now says unless told otherwise: 26 July 2024, the date that Llama 3's own template falls back to. The
/// clock of the machine would make two runs differ.
inline constexpr std::chrono::sys_seconds kTemplateDate =
    std::chrono::sys_days(std::chrono::year(2024) / std::chrono::July / 26);

struct ChatOptions {
  bool add_generation_prompt = false;  // end with the beginning of an answer
  bool find_answers = false;           // Document::answers
  std::chrono::sys_seconds now = kTemplateDate;
};

/// Immutable and safe to use from several threads.
class ChatTemplate {
 public:
  /// `tokens`: the special tokens by the names that templates use ("bos_token", "<s>"). `name` is what errors call the
  /// template. Error bad_input when it is no Jinja, unsupported for a tag or form that kerf lacks; with the line.
  ChatTemplate(std::string source, std::vector<std::pair<std::string, std::string>> tokens,
               std::string name = "the chat template");
  /// The template of a tokenizer. Error bad_input when it has none.
  static ChatTemplate of(const TokenizerSpec&, const std::string& model);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// `messages` is a list of {"role": ..., "content": ...} and what else the template knows; keys that are null are
  /// left out. `tools` is None or a list. Error bad_input for messages of another shape, or that the template refuses
  /// or cannot compute with; unsupported for what kerf lacks, and for a rendering past jinja::Limits.
  std::string render(const jinja::Value& messages, const ChatOptions& = {},
                     const jinja::Value& tools = jinja::None{}) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace kerf
