// Calibration windows against their stated rule, and texts that cannot be read.
#include "model/chat/calibration_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer t = [] {
    TokenizerSpec spec = read_tokenizer_spec(test::example_dir());
    spec.chat_template =
        "{% for m in messages %}{{ bos_token if loop.first }}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}";
    return Tokenizer(std::move(spec));
  }();
  return t;
}

Windows cut(std::string_view text, const std::string& name, CalibrationWindows wanted) {
  return cut_calibration(tokenizer(), tokenizer().spec().bos, text, name, "the model", wanted);
}

std::string refusal(std::string_view text, const std::string& name, CalibrationWindows wanted = {.length = 8},
                    ErrorKind kind = ErrorKind::bad_input) {
  return test::refusal([&] { cut(text, name, wanted); }, kind);
}

void expect_says(const std::string& sentence, const std::string& part) {
  EXPECT_NE(sentence.find(part), std::string::npos) << "it says: " << sentence;
}

TEST(CalibrationText, PlainTextIsCutAsEvaluationTextIs) {
  const std::string text = read_text(test::example_dir() / "calibration.txt");
  const auto ids = tokenizer().encode(text, false);
  const Windows w = cut(text, "calibration.txt", {.count = 5, .length = 64});
  EXPECT_EQ(w.ids, cut_windows(ids, tokenizer().spec().bos, 64, 5, 0).ids);
  EXPECT_EQ(w.count, 5);
  EXPECT_EQ(w.ids[0], *tokenizer().spec().bos);
}

TEST(CalibrationText, ASeedDrawsWindowsOfPlainTextWithoutReplacement) {
  const std::string text = read_text(test::example_dir() / "calibration.txt").substr(0, 40000);
  const Windows all = cut(text, "t", {.count = 100000, .length = 64});
  const auto set_of = [](const Windows& w) {
    std::multiset<std::vector<int32_t>> windows;
    for (int64_t i = 0; i < w.count; ++i) windows.emplace(w.window(i).begin(), w.window(i).end());
    return windows;
  };
  const Windows shuffled = cut(text, "t", {.count = 100000, .length = 64, .seed = 7});
  EXPECT_EQ(set_of(all), set_of(shuffled));
  EXPECT_NE(all.ids, shuffled.ids);
  EXPECT_EQ(shuffled.ids, cut(text, "t", {.count = 100000, .length = 64, .seed = 7}).ids);
  EXPECT_NE(shuffled.ids, cut(text, "t", {.count = 100000, .length = 64, .seed = 8}).ids);
  const Windows few = cut(text, "t", {.count = 3, .length = 64, .seed = 7});
  EXPECT_TRUE(std::equal(few.ids.begin(), few.ids.end(), shuffled.ids.begin()));
}

// The texts that are answers and those between them, of what a tokenizer with this template makes of a chat.
std::vector<std::pair<bool, std::string>> spoken(const TokenizerSpec& spec, const std::string& text) {
  const Tokenizer t(spec);
  const Windows w =
      cut_calibration(t, spec.bos, text, "t.jsonl", "the model", {.count = 1000, .length = 2, .answers = true});
  EXPECT_EQ(w.answers.size(), w.ids.size());
  EXPECT_EQ(w.ids, cut_calibration(t, spec.bos, text, "t.jsonl", "the model", {.count = 1000, .length = 2}).ids);
  std::vector<std::pair<bool, std::string>> parts;
  for (size_t i = 0; i < w.ids.size();) {
    size_t end = i;
    while (end < w.ids.size() && w.answers[end] == w.answers[i]) ++end;
    parts.emplace_back(w.answers[i] != 0, t.decode(std::span(w.ids).subspan(i, end - i), false));
    i = end;
  }
  return parts;
}

TokenizerSpec with_template(const std::string& chat_template) {
  TokenizerSpec spec = tokenizer().spec();
  spec.chat_template = chat_template;
  return spec;
}

constexpr const char* kTurns =
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}";
constexpr const char* kTwoTurns =
    R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."},
       {"role": "user", "content": "More"}, {"role": "assistant", "content": "No, no."}]})";

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

TEST(CalibrationText, TellsWhatAssistantsSay) {
  const auto parts = spoken(with_template(kTurns), one_line(kTwoTurns) + "\n{\"text\": \"A tale. \"}\n");
  ASSERT_EQ(parts.size(), 4U);
  EXPECT_FALSE(parts[0].first);
  EXPECT_EQ(parts[0].second, "[user] Hi<|endoftext|>[assistant] ");
  EXPECT_EQ(parts[1].second, "Yes.<|endoftext|>");
  EXPECT_EQ(parts[2].second, "[user] More<|endoftext|>[assistant] ");
  EXPECT_TRUE(
      parts[3].second.starts_with("No, no.<|endoftext|>"));  // and the text behind it, which is all to be learned
  EXPECT_NE(parts[3].second.find("A tale."), std::string::npos);
  EXPECT_TRUE(cut(one_line(kTwoTurns), "t.jsonl", {.count = 4, .length = 4}).answers.empty());
}

TEST(CalibrationText, TakesAllOfAChatThatItsTemplateDoesNotRenderInParts) {
  const std::string whole =
      std::string("{% if messages|length < 4 %}{{ raise_exception('too short') }}{% endif %}") + kTurns;
  const auto parts = spoken(with_template(whole), one_line(kTwoTurns));
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_TRUE(parts[0].first);
}

// Where earlier messages change with what follows, or nothing tells where an answer begins: by the contents.
TEST(CalibrationText, FindsAnswersByTheirContentsWhereATemplateDoesNotSay) {
  const std::string system_last =
      "{% for m in messages %}{% if m.role == 'user' %}{{ loop.index0 >= messages|length - 2 and 'SYSTEM ' or '' }}"
      "[user] {{ m.content }}\n{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";
  const std::string counted = std::string("{{ messages|length }} ") + kTurns;
  const std::string no_beginning = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}";
  for (const std::string& source : {system_last, counted, no_beginning}) {
    std::string learned;
    for (const auto& [answer, text] : spoken(with_template(source), one_line(kTwoTurns)))
      if (answer) learned += text;
    EXPECT_EQ(learned.substr(0, 24), "Yes.<|endoftext|>No, no.") << source;  // the last token may fill no window
    EXPECT_TRUE(learned.size() == 24 || learned.ends_with("no.<|endoftext|>")) << learned;
  }
  const std::string with_system =
      R"({"messages": [{"role": "system", "content": "Be kind"},)" + one_line(kTwoTurns).substr(14);
  const std::string system_behind =
      "{% for m in messages %}{% if m.role == 'user' %}[user] {{ m.content }}"
      "{{ loop.index0 >= messages|length - 2 and messages[0].content or '' }}\n"
      "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";
  std::string learned;
  for (const auto& [answer, text] : spoken(with_template(system_behind), with_system))
    if (answer) learned += text;
  EXPECT_EQ(learned.substr(0, 24), "Yes.<|endoftext|>No, no.");
  const auto nothing =
      spoken(with_template(no_beginning),
             R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]})");
  ASSERT_EQ(nothing.size(), 1U);
  EXPECT_FALSE(nothing[0].first);
}

// In the templates of real models: what is said and its end, without what stands in front of it.
TEST(CalibrationText, TellsWhatAssistantsSayInRealChats) {
  const auto data = test::data_dir();
  if (!data) GTEST_SKIP() << "needs the tokenizers beside the source";
  int templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*data / "tokenizers")) {
    const TokenizerSpec spec = read_tokenizer_spec(entry.path());
    if (spec.chat_template.empty()) continue;
    ++templates;
    std::string learned, rest;
    for (const auto& [answer, text] : spoken(spec, one_line(kTwoTurns))) (answer ? learned : rest) += text + "|";
    const std::string what = entry.path().filename().string() + ": " + learned;
    EXPECT_TRUE(learned.starts_with("Yes.") || learned.starts_with("<think>")) << what;
    EXPECT_NE(learned.find("No, no."), std::string::npos) << what;
    for (const char* of_user : {"Hi", "More", "user"}) EXPECT_EQ(learned.find(of_user), std::string::npos) << what;
    EXPECT_EQ(rest.find("Yes."), std::string::npos) << what << rest;
  }
  EXPECT_GE(templates, 3);
}

TEST(Windows, CarryWhatIsLearned) {
  const Windows w{.count = 2, .length = 3, .ids = {1, 2, 3, 4, 5, 6}, .answers = {1, 0, 1, 1, 0, 0}};
  EXPECT_FALSE(w.learns_after(0));
  EXPECT_TRUE(w.learns_after(1));
  EXPECT_FALSE(w.learns_after(2));  // the next one lies in another window
  EXPECT_EQ(w.learned(), 1);
  const int64_t second = 1;
  EXPECT_EQ(picked_windows(w, {&second, 1}).learned(), 0);
  EXPECT_EQ(first_windows(w, 1).answers, (std::vector<uint8_t>{1, 0, 1}));
  const Windows plain{.count = 1, .length = 3, .ids = {7, 8, 9}};
  EXPECT_EQ(plain.learned(), 2);
  for (const Windows& both : {joined_windows(plain, w), joined_windows(w, plain)}) {
    EXPECT_EQ(both.count, 3);
    EXPECT_EQ(both.answers.size(), both.ids.size());
    EXPECT_EQ(both.learned(), 3);
  }
  EXPECT_TRUE(joined_windows(plain, plain).answers.empty());
}

TEST(CalibrationText, DocumentsStandBackToBack) {
  const std::string text =
      "\n{\"text\": \"Once upon a time there was a dog.\"}\n  \n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": "
      "\"Yes.\"}]}\r\n"
      "{\"text\": \"The end\\u00e9.\", \"id\": 3}";
  std::vector<int32_t> ids = tokenizer().encode("Once upon a time there was a dog.", true);
  const std::string bos = tokenizer().spec().tokens[static_cast<size_t>(*tokenizer().spec().bos)];
  const std::string eos = tokenizer().spec().tokens[static_cast<size_t>(*tokenizer().spec().eos)];
  const auto chat = tokenizer().encode(bos + "user: Hi" + eos + "assistant: Yes." + eos, false);
  EXPECT_EQ(chat[0], *tokenizer().spec().bos);  // the template's, and no second one
  EXPECT_NE(chat[1], *tokenizer().spec().bos);
  EXPECT_EQ(chat.back(), *tokenizer().spec().eos);
  ids.insert(ids.end(), chat.begin(), chat.end());
  const auto last = tokenizer().encode("The end\u00e9.", true);
  ids.insert(ids.end(), last.begin(), last.end());

  const Windows w = cut(text, "chats.txt", {.length = 4});
  EXPECT_EQ(w.count, static_cast<int64_t>(ids.size()) / 4);
  EXPECT_EQ(w.ids, std::vector<int32_t>(ids.begin(), ids.begin() + w.tokens()));
  const Windows two = cut(text, "chats.txt", {.count = 2, .length = 4});
  EXPECT_EQ(two.ids, std::vector<int32_t>(ids.begin(), ids.begin() + 8));
}

TEST(CalibrationText, ASeedShufflesDocuments) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "{\"text\": \"Story number " + std::to_string(i) + ".\"}\n";
  const Windows in_order = cut(text, "t.jsonl", {.count = 1000, .length = 2});
  const Windows shuffled = cut(text, "t.jsonl", {.count = 1000, .length = 2, .seed = 1});
  auto a = in_order.ids, b = shuffled.ids;
  EXPECT_NE(a, b);
  EXPECT_EQ(b, cut(text, "t.jsonl", {.count = 1000, .length = 2, .seed = 1}).ids);
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<int32_t> missing;  // an id that fills no window of 2 may be left out of either
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(missing));
  EXPECT_EQ(a.size(), b.size());
  EXPECT_LE(missing.size(), 1u);
}

TEST(CalibrationText, LinesPastTheWindowsAreNotRead) {
  EXPECT_EQ(
      cut("{\"text\": \"One two three four five six seven.\"}\nbroken", "t.jsonl", {.count = 1, .length = 4}).count, 1);
}

TEST(CalibrationText, RecordsAreKnownByNameOrByHowTheyBegin) {
  EXPECT_TRUE(holds_records("", "a.jsonl"));
  EXPECT_TRUE(holds_records("\xEF\xBB\xBF\n \n {\"text\": \"a\"}\nx", "a.txt"));
  EXPECT_TRUE(holds_records("{not json}\n{\"text\": 1}", "a.txt"));  // and its first line is refused
  EXPECT_TRUE(holds_records("[\n {\"text\": \"a\"},\n {\"text\": \"b\"}\n]\n", "a.txt"));
  EXPECT_TRUE(holds_records("{\n \"text\": \"a\"\n}\n{\n \"text\": \"b\"\n}", "a.txt"));
  EXPECT_FALSE(holds_records("{braces} are no JSON\nand this is none", "a.txt"));
  EXPECT_FALSE(holds_records("[Scene 1]\n\"Who is there?\"", "a.txt"));
  EXPECT_FALSE(holds_records("[1]\n", "a.txt"));
  EXPECT_FALSE(holds_records("  \n", "a.txt"));
}

TEST(CalibrationText, RefusesWhatCannotBeRead) {
  expect_says(refusal("too short", "t"), "too few for one window of 8");
  expect_says(refusal("", "t"), "0 tokens");
  expect_says(refusal("{\"text\": \"a\"}", "t.jsonl", {.length = 64}), "the 1 documents of t.jsonl have 2 tokens");
  expect_says(refusal("", "t.jsonl"), "the 0 documents");
  expect_says(refusal("abc\xff", "t"), "byte 3");
  expect_says(refusal(std::string_view("\xFF\xFE\x61\x00", 4), "t"), "UTF-16");
  expect_says(refusal("x", "t", {.length = 1}, ErrorKind::usage), "at least 1 window of 2");
  expect_says(refusal("x", "t", {.count = 0}, ErrorKind::usage), "at least 1 window of 2");
}

TEST(CalibrationText, NamesTheLineThatIsWrong) {
  const std::string good = "{\"text\": \"a\"}\n\n";
  expect_says(refusal(good + "{\"text\": ", "t.jsonl"), "t.jsonl, line 3 is not valid JSON");
  expect_says(refusal(good + "[1]", "t.jsonl"), "t.jsonl, line 3 is a list");
  expect_says(refusal(good + "{\"txt\": \"a\", \"b\": 1}", "t.jsonl"), "line 3 has neither");
  expect_says(refusal(good + "{\"txt\": \"a\", \"b\": 1}", "t.jsonl"), "it has \"txt\", \"b\"");
  expect_says(refusal(good + "{\"text\": 5}", "t.jsonl"), "line 3: \"text\" is a int");
  expect_says(refusal(good + "{\"messages\": []}", "t.jsonl"), "line 3: the chat template of the model: there are no");
  expect_says(
      refusal(good + "{\"messages\": [{\"role\": \"user\", \"content\": \"abcdefgh\"}]}\n{\"messages\": 3}", "t.jsonl"),
      "line 4: the chat template of the model: the messages are a int");
  expect_says(refusal(good + "{\"messages\": " + std::string(100000, '['), "t.jsonl"), "line 3 nests");
  const Tokenizer bare(read_tokenizer_spec(test::example_dir()));
  const auto chat = "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";
  expect_says(test::refusal([&] { cut_calibration(bare, {}, chat, "t.jsonl", "M", {}); }, ErrorKind::bad_input),
              "t.jsonl, line 1: M has no chat template");
}

}  // namespace
}  // namespace kerf
