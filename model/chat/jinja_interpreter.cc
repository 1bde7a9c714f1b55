// A tree walk. Scopes: loops, macros, with and captured blocks have their own, `if` has none; a name is read from the
// nearest scope that has it and set in the innermost one.
#include "model/chat/jinja_interpreter.h"

#include "model/chat/jinja_text.h"

namespace kerf::jinja {
namespace {

using Kind = Statement::Kind;

struct Deeper {
  explicit Deeper(Run& run) : run(run) { run.enter(); }
  ~Deeper() { run.leave(); }
  Run& run;
};

}  // namespace

Value* Scope::find(std::string_view name) {
  for (Scope* s = this; s; s = s->parent.get())
    for (auto& [known, value] : s->names)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : names)
    if (known == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

class Interpreter::Inner {
 public:
  Inner(Interpreter& i, std::shared_ptr<Scope> parent) : i_(i), outer_(i.scope_) {
    i.run_.spend(sizeof(Scope));
    i.scope_ = std::make_shared<Scope>(Scope{std::move(parent), {}});
  }
  explicit Inner(Interpreter& i) : Inner(i, i.scope_) {}
  ~Inner() { i_.scope_ = std::move(outer_); }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;

 private:
  Interpreter& i_;
  std::shared_ptr<Scope> outer_;
};

Interpreter::~Interpreter() {
  for (auto& scope : kept_scopes_) scope->names.clear();
  for (auto& space : namespaces_) space->attributes = Dict();
}

std::string Interpreter::render(const Block& body, std::vector<std::pair<std::string, Value>> variables) {
  std::string out;
  out_ = &out;
  scope_ = std::make_shared<Scope>(Scope{nullptr, std::move(variables)});
  const Inner top(*this);
  execute(body);
  return out;
}

void Interpreter::print(const Value& v) {
  if (v.is_text()) {
    run_.spend(v.text().size());
    *out_ += v.text();
  } else {
    *out_ += to_text(run_, v);
  }
}

std::string Interpreter::capture(const Block& body) {
  const Inner inner(*this);
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  execute(body);
  out_ = outer;
  return text;
}

Interpreter::Flow Interpreter::execute(const Block& body) {
  const Deeper deeper(run_);
  for (const Statement& s : body) {
    run_.step();
    run_.line = s.line;
    if (const Flow flow = execute(s); flow != Flow::on) return flow;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::execute(const Statement& s) {
  switch (s.kind) {
    case Kind::text:
      run_.spend(s.text.size());
      *out_ += s.text;
      return Flow::on;
    case Kind::print:
      print(evaluate(*s.value));
      return Flow::on;
    case Kind::set:
      assign(s.target, evaluate(*s.value));
      return Flow::on;
    case Kind::set_block: {
      const Value text(capture(s.body));
      assign(s.target, s.filter ? filtered(*s.filter, text) : text);
      return Flow::on;
    }
    case Kind::branches:
      return branches(s);
    case Kind::loop:
      return loop(s);
    case Kind::macro:
      scope_->set(s.macro->name, function_of(s.macro));
      return Flow::on;
    case Kind::call_block:
      call_block(s);
      return Flow::on;
    case Kind::filter:
      print(filtered(*s.filter, Value(capture(s.body))));
      return Flow::on;
    case Kind::with:
      with(s);
      return Flow::on;
    case Kind::scope:
      *out_ += capture(s.body);
      return Flow::on;
    case Kind::break_loop:
      return Flow::break_loop;
    case Kind::continue_loop:
      return Flow::continue_loop;
  }
  fail(ErrorKind::internal, "a statement of kind {}", static_cast<int>(s.kind));
}

Interpreter::Flow Interpreter::branches(const Statement& s) {
  for (const Branch& b : s.branches)
    if (!b.condition || truth(evaluate(*b.condition))) return execute(b.body);
  return Flow::on;
}

Interpreter::Flow Interpreter::loop(const Statement& s) {
  const auto state = std::make_shared<Loop>(Loop{.items = items_of(run_, evaluate(*s.value))});
  // Whatever keeps the loop's state after its end keeps no list alive by it, nor a reference to this statement.
  const struct Finish {
    ~Finish() { loop.finish(); }
    Loop& loop;
  } finish{*state};
  if (s.filter)
    state->keep = [this, &s, outer = scope_](const Value& v) {
      const Inner inner(*this, outer);
      assign(s.target, v);
      return truth(evaluate(*s.filter));
    };
  while (state->advance()) {
    run_.step();
    const Inner inner(*this);
    scope_->set("loop", Value(state));
    assign(s.target, state->current);
    if (execute(s.body) == Flow::break_loop) break;
  }
  if (state->index0 < 0 && !s.branches.empty()) return execute(s.branches[0].body);
  return Flow::on;
}

void Interpreter::with(const Statement& s) {
  Items values;
  for (const auto& [target, value] : s.assignments) values.push_back(evaluate(*value));
  const Inner inner(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(s.assignments[i].first, values[i]);
  execute(s.body);
}

void Interpreter::call_block(const Statement& s) {
  const Value callee = evaluate(*s.value->parts[0]);
  Arguments given = arguments(s.value->arguments);
  given.named.emplace_back("caller", function_of(s.macro));
  print(call(callee, std::move(given)));
}

void Interpreter::assign(const Assignee& target, const Value& value) {
  if (!target.several.empty()) {
    const Items items = items_of(run_, value);
    if (items.size() != target.several.size())
      run_.wrong("{} values for {} names", items.size(), target.several.size());
    for (size_t i = 0; i < items.size(); ++i) assign(target.several[i], items[i]);
  } else if (target.attribute.empty()) {
    scope_->set(target.name, value);
  } else {
    const Value* space = scope_->find(target.name);
    if (!space || !space->ns()) run_.wrong("'{}' is no namespace, so its attributes cannot be set", target.name);
    if (target.attribute[0] == '_') run_.wrong("a namespace with the attribute {}", target.attribute);
    const std::shared_ptr<Namespace> held = std::get<std::shared_ptr<Namespace>>(space->data());
    held->attributes.set(run_, Value(target.attribute), value);
  }
}

Value Interpreter::function_of(std::shared_ptr<const Macro> macro) {
  run_.spend(sizeof(Function));
  kept_scopes_.push_back(scope_);
  return std::make_shared<Function>(
      Function{.kind = Function::Kind::macro, .name = macro->name, .macro = macro, .scope = scope_});
}

Value Interpreter::make_namespace(Dict attributes) {
  run_.spend(sizeof(Namespace));
  namespaces_.push_back(std::make_shared<Namespace>(Namespace{std::move(attributes)}));
  return namespaces_.back();
}

Value Interpreter::call(const Value& callee, Arguments given) {
  if (const Undefined* u = std::get_if<Undefined>(&callee.data()))
    run_.wrong("the call of {}, which is undefined", u->what ? *u->what : "something");
  const Function* f = callee.function();
  if (!f) run_.wrong("the call of {}, which is no function", type_name(callee));
  switch (f->kind) {
    case Function::Kind::global:
      return call_global(*this, f->name, given);
    case Function::Kind::method:
      return call_method(run_, f->self, f->name, given);
    case Function::Kind::macro:
      break;
  }
  return call_macro(*f, std::move(given));
}

Value Interpreter::call_macro(const Function& f, Arguments given) {
  const std::shared_ptr<const Macro> macro = f.macro;  // what it assigns may replace the function
  const Inner inner(*this, f.scope);
  const auto& parameters = macro->parameters;
  if (given.positional.size() > parameters.size())
    run_.wrong("the macro {} takes {} arguments and is given {}", macro->name, parameters.size(),
               given.positional.size());
  std::vector<const Value*> values(parameters.size(), nullptr);
  for (size_t i = 0; i < given.positional.size(); ++i) values[i] = &given.positional[i];
  if (macro->uses_caller) scope_->set("caller", Undefined{});
  for (const auto& [name, value] : given.named) {
    const auto at = std::find(parameters.begin(), parameters.end(), name);
    if (at != parameters.end() && !values[static_cast<size_t>(at - parameters.begin())])
      values[static_cast<size_t>(at - parameters.begin())] = &value;
    else if (name == "caller" && macro->uses_caller)
      scope_->set(name, value);
    else
      run_.wrong("the macro {} is given the argument {}, which it {}", macro->name, name,
                 at == parameters.end() ? "does not take" : "has already");
  }
  const size_t without_default = parameters.size() - macro->defaults.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (values[i])
      scope_->set(parameters[i], *values[i]);
    else if (i >= without_default)
      scope_->set(parameters[i], evaluate(*macro->defaults[i - without_default]));
    else
      scope_->set(parameters[i], Undefined{std::make_shared<const std::string>("'" + parameters[i] + "'")});
  }
  return Value(capture(macro->body));
}

}  // namespace kerf::jinja
