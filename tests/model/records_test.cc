// Records in the forms that data sets come in, and where a broken one lies.
#include "model/chat/records.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf::test {
namespace {

const TokenizerSpec& chatty() {
  static const TokenizerSpec spec = [] {
    TokenizerSpec s;
    s.from_json = true;
    s.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    return s;
  }();
  return spec;
}

Document only(const std::string& text, const TokenizerSpec& spec = chatty(), const std::string& file = "t.jsonl") {
  Records records(text, file, spec, "M");
  EXPECT_EQ(records.size(), 1u);
  return records.document(0);
}

std::string refused(const std::string& text, size_t which = 0) {
  return refusal([&] { Records(text, "t.jsonl", chatty(), "M").document(which); }, ErrorKind::bad_input);
}

TEST(Records, AreChatsInTheFormsOfDataSets) {
  const auto chat = [](const char* record) {
    const Document d = only(record);
    EXPECT_TRUE(d.rendered) << record;
    return d.text;
  };
  EXPECT_EQ(chat(R"({"messages": [{"role": "user", "content": "a"}]})"), "<user>a");
  EXPECT_EQ(chat(R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"},
                                       {"from": "gpt", "value": "b"}, {"from": "tool", "value": "c"}]})"),
            "<system>s<user>a<assistant>b<tool>c");
  EXPECT_EQ(chat(R"({"system": "s", "conversations": [{"from": "user", "value": "a"}]})"), "<system>s<user>a");
  EXPECT_EQ(chat(R"({"conversations": [{"role": "user", "content": "a"}]})"), "<user>a");
  EXPECT_EQ(chat(R"({"prompt": "a", "completion": " b"})"), "<user>a<assistant> b");
  EXPECT_EQ(
      chat(R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]})"),
      "<user>a<assistant>b");
  EXPECT_EQ(chat(R"({"instruction": "a", "input": "", "output": "b"})"), "<user>a<assistant>b");
  EXPECT_EQ(chat(R"({"instruction": "a", "input": "x", "output": "b", "text": null})"), "<user>a\n\nx<assistant>b");
  EXPECT_EQ(chat(R"({"instruction": "a", "context": "x", "response": "b", "category": "c"})"),
            "<user>a\n\nx<assistant>b");
  EXPECT_EQ(chat(R"({"instruction": "a", "output": "b", "system": "s", "history": [["1", "2"]]})"),
            "<system>s<user>1<assistant>2<user>a<assistant>b");
  // What comes first in the list of keys counts.
  EXPECT_EQ(chat(R"({"text": "t", "messages": [{"role": "user", "content": "a"}]})"), "<user>a");
}

TEST(Records, AreTextsWhereTheModelHasNoTemplateOrTheyAreThat) {
  TokenizerSpec plain;
  plain.from_json = true;
  const auto text = [&](const char* record) {
    const Document d = only(record, plain);
    EXPECT_FALSE(d.rendered) << record;
    return d.text;
  };
  EXPECT_EQ(text(R"({"prompt": "a", "completion": " b"})"), "a b");
  EXPECT_EQ(text(R"({"instruction": "a", "input": "x", "output": "b"})"), "a\n\nx\n\nb");
  EXPECT_EQ(text(R"({"text": "t", "instruction": "a", "output": "b"})"), "t");
  EXPECT_EQ(only(R"({"text": "t"})").text, "t");
  EXPECT_FALSE(only(R"("a string")").rendered);
  EXPECT_EQ(only(R"("a string")").text, "a string");
}

TEST(Records, MayStandInAListOrOneAfterTheOther) {
  for (const char* text : {"[{\"text\": \"a ]}\\\"\"},\n {\"text\": \"b\"}\n]\n", "\n[\n \"a ]}\\\"\"\n,\n\"b\"]",
                           "{\n \"text\": \"a ]}\\\"\"\n}\n{\n \"text\": \"b\"\n}\n",
                           "\xEF\xBB\xBF{\"text\": \"a ]}\\\"\"}\n{\"text\": \"b\"}"}) {
    ASSERT_TRUE(holds_records(text, "t.txt")) << text;
    Records records(text, "t", chatty(), "M");
    ASSERT_EQ(records.size(), 2u) << text;
    EXPECT_EQ(records.document(0).text, "a ]}\"");
    EXPECT_EQ(records.document(1).text, "b");
  }
  EXPECT_EQ(Records("[]", "t.json", chatty(), "M").size(), 0u);
}

TEST(Records, SayTheLineThatIsWrong) {
  const std::string list = "[\n {\"text\": \"a\"},\n {\"text\": 5},\n {\"text\": \"b\" \"c\"}\n]";
  EXPECT_TRUE(mentions(refused(list, 1), "t.jsonl, line 3: \"text\" is a int"));
  EXPECT_TRUE(mentions(refused(list, 2), "t.jsonl, line 4 is not valid JSON"));
  EXPECT_TRUE(mentions(refused("[\n {\"text\": \"a\"},\n {\"text\": \"b\"}\n"), "line 4: the list of records"));
  EXPECT_TRUE(mentions(refused("[\n {\"text\": \"a\"}\n {\"text\": \"b\"}]"), "line 3: the list of records"));
  EXPECT_TRUE(mentions(refused("{\"text\": \"a\n{\"text\": \"b\"}"), "t.jsonl, line 1 is not valid JSON"));
  EXPECT_TRUE(
      mentions(refused(R"({"conversations": [{"from": "narrator", "value": "a"}]})"), "comes from \"narrator\""));
  EXPECT_TRUE(mentions(refused(R"({"conversations": [{"from": "human"}]})"), "lacks \"value\""));
  EXPECT_TRUE(mentions(refused(R"({"conversations": "a"})"), "\"conversations\" is a str"));
  EXPECT_TRUE(mentions(refused(R"({"prompt": "a", "completion": 1})"), "line 1: \"completion\" is a int"));
  EXPECT_TRUE(
      mentions(refused(R"({"instruction": "a", "output": "b", "history": ["x"]})"), "\"history\" is not a list"));
  const std::string unknown = refused(R"({"question": "a", "answer": "b"})");
  EXPECT_TRUE(mentions(unknown, "it has \"question\", \"answer\"")) << unknown;
  EXPECT_TRUE(mentions(unknown, R"(jq -c '{prompt: ."question", completion: ."answer"}')")) << unknown;
  const std::string wrapped = refused(R"({"data": [{"text": "a"}]})");
  EXPECT_TRUE(mentions(wrapped, "jq -c '.\"data\"[]'")) << wrapped;
}

TEST(Records, OfAnotherFormComeWithACommandWhoseOutputIsRead) {
  const std::pair<const char*, const char*> advised[] = {
      {R"({"prompt": "a", "chosen": "b", "rejected": "c"})", R"('{prompt: ."prompt", completion: ."chosen"}')"},
      {R"({"prompt": "a", "chosen": [{"role": "user", "content": "a"}]})", R"('{messages: ."chosen"}')"},
      {R"({"turns": [{"from": "human", "value": "a"}]})", R"('{conversations: ."turns"}')"},
      {R"({"article": "a", "id": 1})", R"('{text: ."article"}')"},
      {R"([[{"role": "user", "content": "a"}]])"
       "\n[[]]",
       "'.[] | {messages: .}'"},
      {R"({"role": "user", "content": "a"})"
       "\n"
       R"({"role": "assistant", "content": "b"})",
       "jq -sc '{messages: .}'"},
  };
  for (const auto& [record, way] : advised) EXPECT_TRUE(mentions(refused(record), way)) << refused(record);
  EXPECT_TRUE(mentions(refused(R"({"text": null})"), "t.jsonl, line 1: \"text\" is null, not a string"));
  EXPECT_TRUE(mentions(refused(R"({"id": 1, "messages": null})"), "\"messages\" is null, not a list"));
}

TEST(Records, AreChatsWithoutAnObjectAroundThem) {
  const std::string one = R"([{"role": "user", "content": "a"},
                              {"role": "assistant", "content": "b"}])";
  EXPECT_TRUE(holds_records(one, "t.txt"));
  EXPECT_EQ(only(one, chatty(), "t.json").text, "<user>a<assistant>b");
  EXPECT_EQ(only(R"([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}])").text, "<user>a<assistant>b");
  const std::string chat = R"([{"role": "user", "content": "a"}])";
  for (const std::string& several : {"[" + chat + ",\n" + chat + "]", chat + "\n" + chat}) {
    EXPECT_TRUE(holds_records(several, "t.txt")) << several;
    Records records(several, "t", chatty(), "M");
    ASSERT_EQ(records.size(), 2u) << several;
    EXPECT_EQ(records.document(1).text, "<user>a");
  }
  // What is a record stays one.
  Records texts(R"([{"role": "x", "content": "c", "text": "a"}, {"text": "b"}])", "t", chatty(), "M");
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts.document(1).text, "b");
}

TEST(Records, JoinContentInPartsForTemplatesOfTexts) {
  const char* parts = R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                                                                    {"type": "text", "text": "b"}]}]})";
  const char* picture = R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})";
  const auto with_template = [](const char* source) {
    TokenizerSpec s = chatty();
    s.chat_template = source;
    return s;
  };
  for (const char* source : {"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
                             "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}"}) {
    const TokenizerSpec spec = with_template(source);
    EXPECT_EQ(only(parts, spec).text, "<user>a\nb");
    const std::string said = refusal([&] { only(picture, spec); }, ErrorKind::bad_input);
    EXPECT_TRUE(mentions(said, "line 1: the content of a message has a part that is no text (\"image_url\")")) << said;
  }
  const TokenizerSpec seeing = with_template(
      "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
      "{% for p in m.content %}[{{ p.type }}]{{ p.text }}{% endfor %}{% endif %}{% endfor %}");
  EXPECT_EQ(only(parts, seeing).text, "<user>[text]a[text]b") << "as the template has it";
  EXPECT_EQ(only(picture, seeing).text, "<user>[image_url]");
}

TEST(Records, ReadOrNameWhatStandsBesideMessages) {
  TokenizerSpec spec = chatty();
  spec.chat_template = "{{ tools[0].name }}" + spec.chat_template;
  EXPECT_EQ(only(R"({"system": "s", "messages": [{"role": "user", "content": "a"}]})").text, "<system>s<user>a");
  EXPECT_EQ(only(R"({"tools": "[{\"name\": \"f\"}]", "messages": [{"role": "user", "content": "a"}]})", spec).text,
            "f<user>a");
  EXPECT_EQ(only(R"({"tools": "", "messages": [{"role": "user", "content": "a"}]})").text, "<user>a");
  const std::pair<const char*, const char*> left_out[] = {
      {R"("text": "t")", "t.jsonl, line 1: \"text\" stands beside \"messages\", which are read, and is left out"},
      {R"("tools": "none")", "line 1: \"tools\" is neither a list nor one written as JSON"},
      {R"("system": "s")", "line 1: \"system\" stands beside \"messages\" that begin with a system message"}};
  for (const auto& [beside, sentence] : left_out) {
    const std::string record =
        fmt::format(R"({{{}, "messages": [{{"role": "system", "content": "a"}}]}})", beside) + "\n";
    const std::string text = record + record;
    testing::internal::CaptureStderr();
    Records records(text, "t.jsonl", chatty(), "M");
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(records.document(i).text, "<system>a");
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(mentions(said, sentence)) << said;
    EXPECT_FALSE(mentions(said, "line 2")) << said;
  }
}

}  // namespace
}  // namespace kerf::test
