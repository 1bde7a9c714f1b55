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
  EXPECT_TRUE(mentions(unknown, "jq -c '{text: .\"question\"}'")) << unknown;
  const std::string wrapped = refused(R"({"data": [{"text": "a"}]})");
  EXPECT_TRUE(mentions(wrapped, "jq -c '.\"data\"[]'")) << wrapped;
}

}  // namespace
}  // namespace kerf::test
