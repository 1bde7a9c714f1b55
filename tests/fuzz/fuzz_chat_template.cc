// A chat template and the messages that it renders: two parts, the second JSON.
#include "model/chat/chat_template.h"
#include "model/chat/jinja_json.h"
#include "tests/fuzz/reader_fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerf;
  std::string_view rest = fuzz::text(data, size);
  const std::string source(fuzz::next_part(rest));
  return fuzz::read([&] {
    const ChatTemplate chat(source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    const std::string_view messages = rest.empty() ? R"([{"role": "user", "content": "Hi"}])" : rest;
    chat.render(jinja::parse_json(messages, "messages"), {.add_generation_prompt = true});
  });
}
