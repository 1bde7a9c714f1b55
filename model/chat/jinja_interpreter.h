// Walks a parsed template and writes its text.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/jinja_builtins.h"
#include "model/chat/jinja_syntax.h"

namespace kerf::jinja {

class Interpreter {
 public:
  /// `now` is what strftime_now prints.
  Interpreter(Run& run, std::chrono::sys_seconds now) : run_(run), now_(now) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// Errors: bad_input where Jinja raises one too, unsupported where kerf lacks something.
  std::string render(const Block&, std::vector<std::pair<std::string, Value>> variables);

  Run& run() { return run_; }
  std::chrono::sys_seconds now() const { return now_; }
  Value call(const Value& callee, Arguments);
  Value make_namespace(Dict attributes);

 private:
  enum class Flow { on, break_loop, continue_loop };

  Flow execute(const Block&);
  Flow execute(const Statement&);
  Flow branches(const Statement&);
  Flow loop(const Statement&);
  void with(const Statement&);
  void call_block(const Statement&);
  void print(const Value&);
  /// What the block prints, in a scope of its own.
  std::string capture(const Block&);
  void assign(const Assignee&, const Value&);

  Value evaluate(const Expr&);
  Value evaluate_here(const Expr&);
  Value name(const Expr&);
  Value dict(const Expr&);
  Value comparison(const Expr&);
  Value concat(const Expr&);
  Items all(const std::vector<ExprPtr>&);
  Arguments arguments(const CallArguments&);
  Value filtered(const Expr&, const Value& text);
  Value call_macro(const Function&, Arguments);
  Value function_of(std::shared_ptr<const Macro>);

  /// A scope within the current one, until it is left.
  class Inner;

  Run& run_;
  std::chrono::sys_seconds now_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  // Macros keep scopes, and namespaces may keep macros: a ring that is cut when the rendering ends.
  std::vector<std::shared_ptr<Scope>> kept_scopes_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace kerf::jinja
