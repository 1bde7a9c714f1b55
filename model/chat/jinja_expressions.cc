// Recursive descent, one function per level of precedence, weakest first: if-else, or, and, not, comparisons, + -, ~,
// * / // %, **, unary signs, then subscripts and calls, then filters and tests.
#include <algorithm>
#include <array>

#include "model/chat/jinja_parser.h"

namespace kerf::jinja {
namespace {

using Kind = Expr::Kind;

// Python refuses more than 200 nested parentheses. Trees are walked by functions that call themselves.
constexpr int kMostNested = 200;

bool is_one_of(const Token& t, std::initializer_list<std::string_view> ops) {
  return t.kind == Token::Kind::op && std::find(ops.begin(), ops.end(), t.text) != ops.end();
}

struct Deeper {
  Deeper(int& depth, const Run& run) : depth(depth) {
    if (++depth > kMostNested) run.unsupported("expressions are nested deeper than {}", kMostNested);
  }
  ~Deeper() { --depth; }
  int& depth;
};

}  // namespace

const Token& TokenStream::take() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  run_.line = tokens_[at_].line;
  return token;
}

bool TokenStream::take_op(std::string_view op) {
  if (!now().is_op(op)) return false;
  take();
  return true;
}

bool TokenStream::take_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  take();
  return true;
}

void TokenStream::expect_op(std::string_view op) {
  if (!take_op(op)) unexpected(fmt::format("'{}'", op));
}

const Token& TokenStream::expect(Token::Kind kind, std::string_view wanted) {
  if (now().kind != kind) unexpected(wanted);
  return take();
}

void TokenStream::unexpected(std::string_view wanted) const {
  static constexpr std::array<std::string_view, 11> kNames = {
      "text", "'{{'", "'}}'", "'{%'", "'%}'", "", "a string", "a number", "a number", "", "the end of the template"};
  const Token& t = now();
  const bool spelled = t.kind == Token::Kind::name || t.kind == Token::Kind::op;
  run_.wrong("expected {}, found {}", wanted,
             spelled ? "'" + t.text + "'" : std::string(kNames[static_cast<size_t>(t.kind)]));
}

ExprPtr ExpressionParser::make(Kind kind, int line, std::string name) {
  run_.spend(sizeof(Expr));
  return std::make_unique<Expr>(Expr{.kind = kind, .line = line, .name = std::move(name)});
}

void ExpressionParser::limit_depth(Expr& parent, const ExprPtr& part) {
  if (part) parent.depth = std::max(parent.depth, part->depth + 1);
  if (parent.depth > kMostNested) run_.unsupported("expressions are nested deeper than {}", kMostNested);
}

ExprPtr ExpressionParser::add(ExprPtr parent, ExprPtr part) {
  limit_depth(*parent, part);
  parent->parts.push_back(std::move(part));
  return parent;
}

ExprPtr ExpressionParser::expression(bool conditional) {
  const Deeper deeper(depth_, run_);
  ExprPtr e = either();
  while (conditional && tokens_.now().is_name("if")) {
    const int line = tokens_.take().line;
    ExprPtr condition = either();
    ExprPtr otherwise = tokens_.take_name("else") ? expression() : nullptr;
    e = add(add(add(make(Kind::conditional, line), std::move(condition)), std::move(e)), std::move(otherwise));
  }
  return e;
}

ExprPtr ExpressionParser::either() {
  ExprPtr left = both();
  while (tokens_.now().is_name("or")) {
    const int line = tokens_.take().line;
    left = add(add(make(Kind::either, line), std::move(left)), both());
  }
  return left;
}

ExprPtr ExpressionParser::both() {
  ExprPtr left = negation();
  while (tokens_.now().is_name("and")) {
    const int line = tokens_.take().line;
    left = add(add(make(Kind::both, line), std::move(left)), negation());
  }
  return left;
}

ExprPtr ExpressionParser::negation() {
  if (!tokens_.now().is_name("not")) return comparison();
  const Deeper deeper(depth_, run_);
  const int line = tokens_.take().line;
  return add(make(Kind::negation, line), negation());
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  ExprPtr whole;
  while (true) {
    const Token& t = tokens_.now();
    std::string op;
    if (is_one_of(t, {"==", "!=", "<", "<=", ">", ">="}))
      op = t.text;
    else if (t.is_name("in"))
      op = "in";
    else if (t.is_name("not") && tokens_.next().is_name("in"))
      op = "not in";
    else
      break;
    if (!whole) whole = add(make(Kind::comparison, t.line), std::move(first));
    tokens_.take();
    if (op == "not in") tokens_.take();
    whole->ops.push_back(op);
    whole = add(std::move(whole), sum());
  }
  return whole ? std::move(whole) : std::move(first);
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concat();
  while (is_one_of(tokens_.now(), {"+", "-"})) {
    const Token& t = tokens_.take();
    left = add(add(make(Kind::binary, t.line, t.text), std::move(left)), concat());
  }
  return left;
}

ExprPtr ExpressionParser::concat() {
  ExprPtr first = product();
  if (!tokens_.now().is_op("~")) return first;
  ExprPtr whole = add(make(Kind::concat, tokens_.now().line), std::move(first));
  while (tokens_.take_op("~")) whole = add(std::move(whole), product());
  return whole;
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (is_one_of(tokens_.now(), {"*", "/", "//", "%"})) {
    const Token& t = tokens_.take();
    left = add(add(make(Kind::binary, t.line, t.text), std::move(left)), power());
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary();
  while (tokens_.now().is_op("**")) {
    const Token& t = tokens_.take();
    left = add(add(make(Kind::binary, t.line, t.text), std::move(left)), unary());
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  ExprPtr e;
  if (is_one_of(tokens_.now(), {"-", "+"})) {
    const Deeper deeper(depth_, run_);
    const Token& t = tokens_.take();
    e = add(make(t.text == "-" ? Kind::minus : Kind::plus, t.line), unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr ExpressionParser::primary() {
  const Token& t = tokens_.now();
  switch (t.kind) {
    case Token::Kind::name:
      return name();
    case Token::Kind::string: {
      ExprPtr e = make(Kind::constant, t.line);
      std::string text;
      while (tokens_.now().kind == Token::Kind::string) text += tokens_.take().text;
      e->constant = Value(std::move(text));
      return e;
    }
    case Token::Kind::integer:
    case Token::Kind::floating: {
      ExprPtr e = make(Kind::constant, t.line);
      e->constant = t.kind == Token::Kind::integer ? Value(t.integer) : Value(t.floating);
      tokens_.take();
      return e;
    }
    default:
      break;
  }
  if (t.is_op("[")) return list();
  if (t.is_op("{")) return dict();
  if (!tokens_.take_op("(")) tokens_.unexpected("an expression");
  ExprPtr e = tuple(true, true);
  tokens_.expect_op(")");
  return e;
}

ExprPtr ExpressionParser::name() {
  const Token& t = tokens_.take();
  ExprPtr e = make(Kind::constant, t.line);
  if (t.text == "true" || t.text == "True" || t.text == "false" || t.text == "False") {
    e->constant = Value(t.text == "true" || t.text == "True");
  } else if (t.text == "none" || t.text == "None") {
    e->constant = Value(None{});
  } else {
    if (t.text == "varargs" || t.text == "kwargs") run_.unsupported("the name '{}' of macros", t.text);
    if (t.text == "caller") saw_caller = true;
    e->kind = Kind::name;
    e->name = t.text;
  }
  return e;
}

ExprPtr ExpressionParser::tuple(bool conditional, bool in_parentheses) {
  const int line = tokens_.now().line;
  const auto at_end = [&] {
    const Token& t = tokens_.now();
    return t.kind == Token::Kind::variable_end || t.kind == Token::Kind::block_end || t.is_op(")");
  };
  ExprPtr whole = make(Kind::tuple, line);
  bool commas = false;
  while (!at_end()) {
    whole = add(std::move(whole), expression(conditional));
    if (!tokens_.take_op(",")) break;
    commas = true;
  }
  if (!commas && !whole->parts.empty()) return std::move(whole->parts[0]);
  if (!commas && !in_parentheses) tokens_.unexpected("an expression");
  return whole;
}

ExprPtr ExpressionParser::list() {
  ExprPtr e = make(Kind::list, tokens_.take().line);
  while (!tokens_.now().is_op("]")) {
    e = add(std::move(e), expression());
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op("]");
  return e;
}

ExprPtr ExpressionParser::dict() {
  ExprPtr e = make(Kind::dict, tokens_.take().line);
  while (!tokens_.now().is_op("}")) {
    e = add(std::move(e), expression());
    tokens_.expect_op(":");
    e = add(std::move(e), expression());
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op("}");
  return e;
}

ExprPtr ExpressionParser::postfix(ExprPtr e) {
  while (true) {
    if (is_one_of(tokens_.now(), {".", "["}))
      e = subscript(std::move(e));
    else if (tokens_.now().is_op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr e) {
  while (true) {
    if (tokens_.now().is_op("|"))
      e = filters(std::move(e), false);
    else if (tokens_.now().is_name("is"))
      e = test(std::move(e));
    else if (tokens_.now().is_op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExprPtr ExpressionParser::filters(ExprPtr subject, bool begun) {
  while (begun || tokens_.take_op("|")) {
    begun = false;
    const Token& t = tokens_.expect(Token::Kind::name, "the name of a filter");
    ExprPtr e = add(make(Kind::filter, t.line, t.text), std::move(subject));
    if (tokens_.now().is_op(".")) run_.unsupported("a filter with a dot in its name");
    if (tokens_.now().is_op("(")) {
      e->arguments = arguments();
      for (const auto& a : e->arguments.positional) limit_depth(*e, a);
      for (const auto& [name, a] : e->arguments.named) limit_depth(*e, a);
    }
    subject = std::move(e);
  }
  return subject;
}

ExprPtr ExpressionParser::test(ExprPtr subject) {
  const int line = tokens_.take().line;
  const bool negated = tokens_.take_name("not");
  ExprPtr e = make(Kind::test, line, tokens_.expect(Token::Kind::name, "the name of a test").text);
  e = add(std::move(e), std::move(subject));
  const Token& t = tokens_.now();
  const bool begins_argument = t.kind == Token::Kind::name || t.kind == Token::Kind::string ||
                               t.kind == Token::Kind::integer || t.kind == Token::Kind::floating ||
                               is_one_of(t, {"[", "{"});
  const bool ends = t.is_name("else") || t.is_name("or") || t.is_name("and");
  if (t.is_op("(")) {
    e->arguments = arguments();
  } else if (begins_argument && !ends) {
    if (t.is_name("is")) run_.wrong("one test with 'is' follows another");
    e->arguments.positional.push_back(postfix(primary()));
  }
  for (const auto& a : e->arguments.positional) limit_depth(*e, a);
  for (const auto& [name, a] : e->arguments.named) limit_depth(*e, a);
  return negated ? add(make(Kind::negation, line), std::move(e)) : std::move(e);
}

ExprPtr ExpressionParser::subscript(ExprPtr e) {
  const Token& open = tokens_.take();
  if (open.text == ".") {
    const Token& t = tokens_.take();
    if (t.kind == Token::Kind::name) return add(make(Kind::attribute, open.line, t.text), std::move(e));
    if (t.kind != Token::Kind::integer) run_.wrong("expected a name or a number behind '.'");
    ExprPtr index = make(Kind::constant, t.line);
    index->constant = Value(t.integer);
    return add(add(make(Kind::item, open.line), std::move(e)), std::move(index));
  }
  ExprPtr part[3];
  int colons = 0;
  while (true) {
    if (!tokens_.now().is_op(":") && !tokens_.now().is_op("]") && !tokens_.now().is_op(",")) {
      if (part[colons]) tokens_.unexpected("']'");
      part[colons] = expression();
    } else if (colons < 2 && tokens_.take_op(":")) {
      ++colons;
    } else {
      break;
    }
  }
  if (tokens_.now().is_op(",")) run_.unsupported("a subscript with a comma");
  tokens_.expect_op("]");
  if (colons == 0 && !part[0]) run_.wrong("an empty subscript");
  ExprPtr whole = add(make(colons ? Kind::slice : Kind::item, open.line), std::move(e));
  for (int i = 0; i < (colons ? 3 : 1); ++i) whole = add(std::move(whole), std::move(part[i]));
  return whole;
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  ExprPtr e = add(make(Kind::call, tokens_.now().line), std::move(callee));
  e->arguments = arguments();
  for (const auto& a : e->arguments.positional) limit_depth(*e, a);
  for (const auto& [name, a] : e->arguments.named) limit_depth(*e, a);
  return e;
}

CallArguments ExpressionParser::arguments() {
  CallArguments all;
  tokens_.expect_op("(");
  while (!tokens_.now().is_op(")")) {
    if (is_one_of(tokens_.now(), {"*", "**"})) run_.unsupported("'{}' before an argument", tokens_.now().text);
    if (tokens_.now().kind == Token::Kind::name && tokens_.next().is_op("=")) {
      std::string name = tokens_.take().text;
      tokens_.take();
      for (const auto& [other, value] : all.named)
        if (other == name) run_.wrong("the argument {} is given twice", name);
      all.named.emplace_back(std::move(name), expression());
    } else {
      if (!all.named.empty()) run_.wrong("an argument without a name behind one with a name");
      all.positional.push_back(expression());
    }
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op(")");
  return all;
}

Assignee ExpressionParser::single_assignee(bool attributes) {
  const Deeper deeper(depth_, run_);
  if (tokens_.take_op("(")) {
    Assignee several = assignee(attributes);
    tokens_.expect_op(")");
    return several;
  }
  const Token& t = tokens_.expect(Token::Kind::name, "a name to assign to");
  for (const std::string_view word : {"true", "True", "false", "False", "none", "None"})
    if (t.text == word) run_.wrong("{} cannot be assigned to", word);
  Assignee target{.name = t.text};
  if (attributes && tokens_.take_op(".")) target.attribute = tokens_.expect(Token::Kind::name, "a name").text;
  return target;
}

Assignee ExpressionParser::assignee(bool attributes) {
  Assignee first = single_assignee(attributes);
  if (!tokens_.now().is_op(",")) return first;
  Assignee several;
  several.several.push_back(std::move(first));
  while (tokens_.take_op(",")) {
    const Token& t = tokens_.now();
    if (t.is_op(")") || t.is_op("=") || t.kind == Token::Kind::block_end) break;
    several.several.push_back(single_assignee(attributes));
  }
  return several;
}

}  // namespace kerf::jinja
