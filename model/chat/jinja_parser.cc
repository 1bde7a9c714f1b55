// Statements: each tag reads its own words, and its body up to the tag that ends it.
#include "model/chat/jinja_parser.h"

#include <algorithm>

namespace kerf::jinja {
namespace {

using Kind = Statement::Kind;

// Bodies are walked by functions that call themselves.
constexpr int kMostNested = 100;

constexpr std::string_view kKnown = "if, for, set, macro, call, filter, with, raw, generation, break and continue";

class Parser {
 public:
  Parser(Run& run, std::vector<Token> tokens) : run_(run), tokens_(run, std::move(tokens)), expressions_(tokens_) {}

  Block all() {
    Block whole = block({});
    if (tokens_.now().kind != Token::Kind::end) tokens_.unexpected("the end of the template");
    return whole;
  }

 private:
  using Words = std::initializer_list<std::string_view>;

  // Statements up to a tag that begins with one of the words, at which the stream then stands; or to the end.
  Block block(Words ends) {
    if (++depth_ > kMostNested) run_.unsupported("blocks are nested deeper than {}", kMostNested);
    Block body;
    while (tokens_.now().kind != Token::Kind::end) {
      const int line = tokens_.now().line;
      run_.spend(sizeof(Statement));
      if (tokens_.now().kind == Token::Kind::data) {
        body.push_back({.kind = Kind::text, .line = line, .text = tokens_.take().text});
      } else if (tokens_.now().kind == Token::Kind::variable_begin) {
        tokens_.take();
        body.push_back({.kind = Kind::print, .line = line, .value = expressions_.tuple()});
        tokens_.expect(Token::Kind::variable_end, "'}}'");
      } else {
        tokens_.expect(Token::Kind::block_begin, "a tag");
        const Token& tag = tokens_.now();
        if (tag.kind != Token::Kind::name) tokens_.unexpected("the name of a tag");
        if (std::find(ends.begin(), ends.end(), tag.text) != ends.end()) break;
        body.push_back(statement(line));
        tokens_.expect(Token::Kind::block_end, "'%}'");
      }
    }
    --depth_;
    return body;
  }

  // The end of a tag, then its body; stands behind the word that ended it, which is returned.
  std::string body(Block& into, Words ends) {
    const int line = tokens_.now().line;
    tokens_.take_op(":");
    tokens_.expect(Token::Kind::block_end, "'%}'");
    into = block(ends);
    if (tokens_.now().kind == Token::Kind::end)
      run_.wrong("the block of line {} has no {{% {} %}}", line, *(ends.end() - 1));
    return tokens_.take().text;
  }

  Statement statement(int line) {
    const std::string tag = tokens_.take().text;
    Statement s{.line = line};
    if (tag == "if")
      branches(s);
    else if (tag == "for")
      loop(s);
    else if (tag == "set")
      set(s);
    else if (tag == "macro")
      macro(s);
    else if (tag == "call")
      call(s);
    else if (tag == "with")
      with(s);
    else if (tag == "filter") {
      s.kind = Kind::filter;
      s.filter = expressions_.filters(nullptr, true);
      body(s.body, {"endfilter"});
    } else if (tag == "generation") {
      s.kind = Kind::scope;
      body(s.body, {"endgeneration"});
    } else if (tag == "break" || tag == "continue") {
      s.kind = tag == "break" ? Kind::break_loop : Kind::continue_loop;
      if (loops_ == 0) run_.wrong("{{% {} %}} outside of a loop", tag);
    } else if (tag.starts_with("end") || tag == "elif" || tag == "else") {
      run_.wrong("{{% {} %}} ends no block that is open here", tag);
    } else {
      run_.unsupported("the tag '{}'; kerf knows {}", tag, kKnown);
    }
    return s;
  }

  void branches(Statement& s) {
    s.kind = Kind::branches;
    std::string word = "if";
    while (word == "if" || word == "elif") {
      Branch branch{.condition = expressions_.tuple(false), .body = {}};
      word = body(branch.body, {"elif", "else", "endif"});
      s.branches.push_back(std::move(branch));
    }
    if (word == "else") {
      Branch branch;
      body(branch.body, {"endif"});
      s.branches.push_back(std::move(branch));
    }
  }

  void loop(Statement& s) {
    s.kind = Kind::loop;
    s.target = expressions_.assignee(false);
    if (!tokens_.take_name("in")) tokens_.unexpected("'in'");
    s.value = expressions_.tuple(false);
    if (tokens_.take_name("if")) s.filter = expressions_.expression();
    if (tokens_.now().is_name("recursive")) run_.unsupported("a recursive loop");
    ++loops_;
    const std::string word = body(s.body, {"else", "endfor"});
    --loops_;
    if (word != "else") return;
    Branch branch;
    body(branch.body, {"endfor"});
    s.branches.push_back(std::move(branch));
  }

  void set(Statement& s) {
    s.target = expressions_.assignee(true);
    if (tokens_.take_op("=")) {
      s.kind = Kind::set;
      s.value = expressions_.tuple();
      return;
    }
    s.kind = Kind::set_block;
    s.filter = expressions_.filters(nullptr, false);
    body(s.body, {"endset"});
  }

  void signature(Macro& m) {
    tokens_.expect_op("(");
    while (!tokens_.now().is_op(")")) {
      m.parameters.push_back(tokens_.expect(Token::Kind::name, "the name of a parameter").text);
      if (tokens_.take_op("="))
        m.defaults.push_back(expressions_.expression());
      else if (!m.defaults.empty())
        run_.wrong("a parameter without a default behind one with a default");
      if (!tokens_.take_op(",")) break;
    }
    tokens_.expect_op(")");
  }

  // A body that is called later: no loop around it is its own.
  void callable(Macro& m, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    const bool saw_caller = std::exchange(expressions_.saw_caller, false);
    body(m.body, {end});
    m.uses_caller = std::exchange(expressions_.saw_caller, saw_caller);
    loops_ = loops;
  }

  void macro(Statement& s) {
    s.kind = Kind::macro;
    auto m = std::make_shared<Macro>();
    m->name = tokens_.expect(Token::Kind::name, "the name of a macro").text;
    signature(*m);
    callable(*m, "endmacro");
    s.macro = std::move(m);
  }

  void call(Statement& s) {
    s.kind = Kind::call_block;
    auto m = std::make_shared<Macro>();
    m->name = "caller";
    if (tokens_.now().is_op("(")) signature(*m);
    s.value = expressions_.expression();
    if (s.value->kind != Expr::Kind::call) run_.wrong("{{% call %}} needs the call of a macro");
    callable(*m, "endcall");
    s.macro = std::move(m);
  }

  void with(Statement& s) {
    s.kind = Kind::with;
    while (tokens_.now().kind != Token::Kind::block_end) {
      if (!s.assignments.empty()) tokens_.expect_op(",");
      Assignee target = expressions_.assignee(false);
      tokens_.expect_op("=");
      s.assignments.emplace_back(std::move(target), expressions_.expression());
    }
    body(s.body, {"endwith"});
  }

  Run& run_;
  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Block parse(Run& run, std::string_view source) {
  std::vector<Token> tokens = tokenize(run, source);
  return Parser(run, std::move(tokens)).all();
}

}  // namespace kerf::jinja
