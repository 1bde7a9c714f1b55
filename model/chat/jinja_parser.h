// The two halves of the parser: expressions, and the statements around them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/chat/jinja_lexer.h"
#include "model/chat/jinja_syntax.h"

namespace kerf::jinja {

/// A reader of tokens, one ahead.
class TokenStream {
 public:
  TokenStream(Run& run, std::vector<Token> tokens) : run_(run), tokens_(std::move(tokens)) { run_.line = now().line; }

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  /// The current token, and on to the one behind it.
  const Token& take();
  bool take_op(std::string_view);
  bool take_name(std::string_view);
  void expect_op(std::string_view);
  const Token& expect(Token::Kind, std::string_view wanted);
  /// Error bad_input: what was wanted and what is there.
  [[noreturn]] void unexpected(std::string_view wanted) const;
  Run& run() const { return run_; }

 private:
  Run& run_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens), run_(tokens.run()) {}

  /// Any expression; without `conditional` no "a if b else c" at its top.
  ExprPtr expression(bool conditional = true);
  /// Expressions with commas between them are a tuple.
  ExprPtr tuple(bool conditional = true, bool in_parentheses = false);
  /// | filter | filter ...; begins at the bar, or with `begun` at the first name. `subject` may be null.
  ExprPtr filters(ExprPtr subject, bool begun);
  Assignee assignee(bool attributes);

  /// Set when the name `caller` is read.
  bool saw_caller = false;

 private:
  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr name();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr);
  ExprPtr filters_and_tests(ExprPtr);
  ExprPtr test(ExprPtr);
  ExprPtr subscript(ExprPtr);
  ExprPtr call(ExprPtr);
  CallArguments arguments();
  Assignee single_assignee(bool attributes);

  ExprPtr make(Expr::Kind, int line, std::string name = {});
  ExprPtr add(ExprPtr parent, ExprPtr part);
  void limit_depth(Expr&, const ExprPtr& part);

  TokenStream& tokens_;
  Run& run_;
  int depth_ = 0;
};

}  // namespace kerf::jinja
