// Chat templates against transformers' own renderings (goldens/chat/make.py), and against templates that mean harm.
#include "model/chat/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "model/chat/jinja_json.h"
#include "model/text/tokenizer.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

using json = nlohmann::ordered_json;

json golden(const std::string& name) {
  return json::parse(read_text(test::source_dir() / "tests/model/goldens/chat" / name));
}

std::vector<std::pair<std::string, std::string>> tokens_of(const json& tokens) {
  std::vector<std::pair<std::string, std::string>> named;
  for (const auto& [name, token] : tokens.items()) named.emplace_back(name, token.get<std::string>());
  return named;
}

jinja::Value value_of(const json& j) { return jinja::parse_json(j.dump(), "the golden"); }

std::string render(const std::string& source, const json& messages = json::parse(R"([{"role":"user","content":"x"}])"),
                   bool prompt = false, const json& tokens = json::object(), const json& tools = nullptr) {
  const ChatTemplate chat(source, tokens_of(tokens));
  return chat.render(value_of(messages), {.add_generation_prompt = prompt}, value_of(tools));
}

// The kind of the error that rendering ends with, and its sentence.
std::pair<ErrorKind, std::string> refusal(const std::string& source, const json& messages, bool prompt = false,
                                          const json& tokens = json::object(), const json& tools = nullptr) {
  try {
    const std::string text = render(source, messages, prompt, tokens, tools);
    ADD_FAILURE() << source.substr(0, 200) << "\nrendered " << text.substr(0, 200);
  } catch (const Error& e) {
    return {e.kind(), e.what()};
  }
  return {ErrorKind::internal, ""};
}
std::pair<ErrorKind, std::string> refusal(const std::string& source) {
  return refusal(source, json::parse(R"([{"role":"user","content":"x"}])"));
}

TEST(ChatTemplate, RendersEveryConstructAsTransformersDoes) {
  const json all = golden("constructs.json");
  for (const json& c : all["render"]) {
    const auto source = c["template"].get<std::string>();
    try {
      EXPECT_EQ(render(source, all["messages"], false, all["tokens"]), c["text"].get<std::string>()) << source;
    } catch (const Error& e) {
      ADD_FAILURE() << source << "\n" << e.what();
    }
  }
  EXPECT_GT(all["render"].size(), 100u);
}

TEST(ChatTemplate, RefusesWhatJinjaRefuses) {
  const json all = golden("constructs.json");
  for (const json& c : all["refused"]) {
    const auto [kind, sentence] = refusal(c.get<std::string>(), all["messages"], false, all["tokens"]);
    EXPECT_TRUE(kind == ErrorKind::bad_input || kind == ErrorKind::unsupported) << c << sentence;
    EXPECT_NE(sentence.find("the chat template, line "), std::string::npos) << c << sentence;
  }
}

TEST(ChatTemplate, RendersChatsAsTransformersDoes) {
  const json all = golden("chats.json");
  int refused = 0;
  for (const json& c : all["cases"]) {
    const auto source = all["templates"][c["template"].get<std::string>()].get<std::string>();
    const json& chat = all["chats"][c["chat"].get<size_t>()];
    const json tools = chat.value("tools", json());
    const auto prompt = c["prompt"].get<bool>();
    if (c.contains("error")) {
      EXPECT_EQ(refusal(source, chat["messages"], prompt, all["tokens"], tools).first, ErrorKind::bad_input) << c;
      ++refused;
    } else {
      EXPECT_EQ(render(source, chat["messages"], prompt, all["tokens"], tools), c["text"].get<std::string>()) << c;
    }
  }
  EXPECT_GT(all["cases"].size(), 200u);
  EXPECT_GT(refused, 10);
}

// Text and ids of the tokenizers in $KERF_DATA that have a template.
TEST(ChatTemplate, RendersRealTemplatesAsTransformersDoes) {
  const auto data = test::data_dir();
  if (!data) GTEST_SKIP() << "no KERF_DATA";
  const json all = golden("shared.json");
  std::string open;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat;
  for (const json& c : all["cases"]) {
    if (c["tokenizer"].get<std::string>() != open) {
      open = c["tokenizer"].get<std::string>();
      tokenizer = Tokenizer::from_directory(*data / "tokenizers" / open);
      chat = ChatTemplate::of(tokenizer->spec(), open);
    }
    const json& input = all["chats"][c["chat"].get<size_t>()];
    const ChatOptions options{.add_generation_prompt = c["prompt"].get<bool>()};
    const jinja::Value messages = value_of(input["messages"]), tools = value_of(input.value("tools", json()));
    if (c.contains("error")) {
      EXPECT_THROW(chat->render(messages, options, tools), Error) << c;
      continue;
    }
    const std::string text = chat->render(messages, options, tools);
    EXPECT_EQ(text, c["text"].get<std::string>());
    EXPECT_EQ(tokenizer->encode(text, false), c["ids"].get<std::vector<int32_t>>()) << text;
  }
  EXPECT_GT(all["cases"].size(), 50u);
}

TEST(ChatTemplate, NamesWhatItLacksWithItsLine) {
  const std::pair<const char*, const char*> lacking[] = {
      {"\n{% include 'x' %}", "line 2: the tag 'include'"},
      {"{% extends 'x' %}", "the tag 'extends'"},
      {"{% block a %}{% endblock %}", "the tag 'block'"},
      {"{% do x %}", "the tag 'do'"},
      {"a\nb\n{{ messages | groupby('role') }}", "line 3: the filter 'groupby'"},
      {"{{ '%d' % 3 }}", "formatting of a str with '%'"},
      {"{{ '{}'.format(3) }}", "the method 'format' of str"},
      {"{% for x in [1] recursive %}{% endfor %}", "a recursive loop"},
      {"{{ f(*messages) }}", "'*' before an argument"},
      {"{{ ''.__class__ }}", "the attribute '__class__'"},
      {"{{ 99999999999999999999 }}", "more than 64 bits"},
      {"{{ 9223372036854775807 + 1 }}", "past 64 bits"},
      {"{{ range(3) }}", "printing a range"},
      {"{{ 'straße' | upper }}", "the case of a letter"},
      {"{{ strftime_now('%c') }}", "the conversion %c"},
      {"{{ joiner() }}", "the name 'joiner'"},
      {"{{ é }}", "unexpected character"},
      {"{{ [messages, range] }}", "printing a function"},
  };
  for (const auto& [source, part] : lacking) {
    const auto [kind, sentence] = refusal(source);
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
    const bool is_syntax = std::string_view(part) == "unexpected character";
    EXPECT_EQ(kind, is_syntax ? ErrorKind::bad_input : ErrorKind::unsupported) << sentence;
  }
}

TEST(ChatTemplate, IsLazyAboutWhatItLacks) {
  EXPECT_EQ(render("{% if false %}{{ x | groupby('a') }}{{ '%d' % 3 }}{% endif %}y"), "y");
}

TEST(ChatTemplate, StopsTemplatesThatWantTooMuch) {
  const auto times = [](std::string s, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += s;
    return all;
  };
  const std::string endless[] = {
      "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}"
      "{% endfor %}",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(100000) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', 'aaaa') %}"
      "{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(99) %}{% set a.l = [a.l, a.l] %}"
      "{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l == b.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l.index] %}{% endfor %}",
      "{% set ns = namespace(l={}) %}{% for i in range(100000) %}{% set ns.l = {'a': ns.l} %}{% endfor %}",
      "{{ 'a' * 100000000000 }}",
      "{{ [0] * 9223372036854775807 }}",
      "{{ 'abc' | indent(1000000000000) }}",
      "{{ [[1]] | tojson(indent=1000000000000) }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(x) %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f(1) %}{{ g() }}{% endcall %}{% endmacro %}"
      "{{ g() }}",
      "{{ " + times("(", 100000) + "1" + times(")", 100000) + " }}",
      "{{ " + times("[", 100000) + times("]", 100000) + " }}",
      "{{ " + times("not ", 100000) + "1 }}",
      "{{ " + times("-", 100000) + "1 }}",
      "{{ 1" + times(" + 1", 100000) + " }}",
      "{{ 1" + times(" if 1 else 1", 100000) + " }}",
      "{{ x" + times(".y", 100000) + " }}",
      "{{ x" + times("|trim", 100000) + " }}",
      "{{ x" + times("[0]", 100000) + " }}",
      "{% set " + times("(", 100000) + "x" + times(")", 100000) + " = 1 %}",
      times("{% if 1 %}", 100000),
      times("{% for x in [1] %}", 5000) + times("{% endfor %}", 5000),
  };
  for (const std::string& source : endless) {
    const auto [kind, sentence] = refusal(source);
    EXPECT_EQ(kind, ErrorKind::unsupported) << source.substr(0, 100) << ": " << sentence;
  }
}

TEST(ChatTemplate, RecursesAsDeepAsItSays) {
  // 40 calls of a macro through an if and a filter: far from the limit of 600 evaluations within each other.
  EXPECT_EQ(
      render("{% macro f(n) %}{% if n > 0 %}{{ (n ~ ',' ~ f(n - 1)) | trim }}{% endif %}{% endmacro %}{{ f(40) }}")
          .substr(0, 9),
      "40,39,38,");
}

TEST(ChatTemplate, RingsOfNamespacesAndMacrosAreFreed) {  // the leak sanitizer looks
  EXPECT_EQ(render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
                   "{% macro f() %}x{% endmacro %}{% set a.f = f %}{% for i in [1] %}{% set a.l = loop %}{% endfor %}"
                   "{{ a.b.a.f() }}{{ a.l.index }}"),
            "x1");
}

TEST(ChatTemplate, RandomBytesOfATemplateNeverCrash) {
  const json all = golden("chats.json");
  const auto source = all["templates"]["thinking"].get<std::string>();
  uint64_t state = 1;
  int rendered = 0;
  for (int round = 0; round < 400; ++round) {
    std::string broken = source;
    for (int k = 0; k < 1 + round % 8; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const size_t at = (state >> 33) % broken.size();
      static constexpr std::string_view kBytes = "{}%#|()[]'\"-+.,:=~ \n0aif";
      if (state & 1)
        broken[at] = kBytes[(state >> 20) % kBytes.size()];
      else
        broken.erase(at, (state >> 25) % 5);
    }
    try {
      render(broken, all["chats"][3]["messages"]);
      ++rendered;
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::internal) << e.what();
    }
  }
  EXPECT_GT(rendered, 0);
}

TEST(ChatTemplate, RefusesInputThatIsNoListOfMessages) {
  EXPECT_EQ(refusal("x", json::array()).first, ErrorKind::bad_input);
  EXPECT_EQ(refusal("x", json::object()).first, ErrorKind::bad_input);
  EXPECT_EQ(refusal("x", json::parse("[1]")).first, ErrorKind::bad_input);
  EXPECT_THROW(ChatTemplate("\xff", {}), Error);
  EXPECT_THROW(ChatTemplate::of(TokenizerSpec{}, "a model"), Error);
}

TEST(JinjaJson, RefusesWhatIsNoJsonAndWhatIsNestedTooDeep) {
  for (const std::string& text : {std::string("{"), std::string("[1,]"), std::string("nul"), std::string("\"\xff\""),
                                  std::string("1 2"), std::string(100000, '['), std::string(""),
                                  std::string("[123456789012345678901]"), std::string("18446744073709551615")})
    EXPECT_THROW(jinja::parse_json(text, "it"), Error) << text.substr(0, 40);
  EXPECT_EQ(render("{{ messages[0].content | tojson }}",
                   json::parse(R"([{"content": {"b": [1, -2, 2.5, 1e3, true, null, "\u00e9\n"], "a": {}}}])")),
            R"({"b": [1, -2, 2.5, 1000.0, true, null, "é\n"], "a": {}})");
}

}  // namespace
}  // namespace kerf
