// Expressions: operands from left to right, `and`, `or` and `if` only as far as needed.
#include "model/chat/jinja_interpreter.h"
#include "model/chat/jinja_text.h"

namespace kerf::jinja {

using Kind = Expr::Kind;

Value Interpreter::evaluate(const Expr& e) {
  run_.step();
  run_.enter();
  Value v = evaluate_here(e);
  run_.leave();
  return v;
}

Value Interpreter::evaluate_here(const Expr& e) {
  const auto part = [&](size_t i) { return evaluate(*e.parts[i]); };
  const auto optional_part = [&](size_t i) { return e.parts[i] ? evaluate(*e.parts[i]) : Value(None{}); };
  run_.line = e.line;
  switch (e.kind) {
    case Kind::constant:
      return e.constant;
    case Kind::name:
      return name(e);
    case Kind::tuple:
      return make_list(run_, all(e.parts), List::Kind::tuple);
    case Kind::list:
      return make_list(run_, all(e.parts));
    case Kind::dict:
      return dict(e);
    case Kind::attribute: {
      const Value object = part(0);
      run_.line = e.line;
      return attribute(run_, object, e.name);
    }
    case Kind::item: {
      const Value object = part(0), key = part(1);
      run_.line = e.line;
      return item(run_, object, key);
    }
    case Kind::slice: {
      const Value object = part(0), from = optional_part(1), to = optional_part(2), step = optional_part(3);
      return slice(run_, object, from, to, step);
    }
    case Kind::call: {
      const Value callee = part(0);
      Arguments given = arguments(e.arguments);
      run_.line = e.line;
      return call(callee, std::move(given));
    }
    case Kind::filter:
      return filtered(e, Value());
    case Kind::test: {
      const Value subject = part(0);
      const Arguments given = arguments(e.arguments);
      run_.line = e.line;
      return call_test(*this, e.name, subject, given);
    }
    case Kind::negation:
      return !truth(part(0));
    case Kind::minus:
      return negated(run_, part(0));
    case Kind::plus: {
      const Value v = part(0);
      if (v.integer()) return *v.integer();
      return v.is<double>() ? v : negated(run_, v);  // the same types, the same error
    }
    case Kind::binary: {
      const Value left = part(0), right = part(1);
      run_.line = e.line;
      return arithmetic(run_, e.name, left, right);
    }
    case Kind::comparison:
      return comparison(e);
    case Kind::both: {
      Value left = part(0);
      return truth(left) ? part(1) : left;
    }
    case Kind::either: {
      Value left = part(0);
      return truth(left) ? left : part(1);
    }
    case Kind::conditional:
      if (truth(part(0))) return part(1);
      return e.parts[2] ? part(2) : Value();
    case Kind::concat:
      return concat(e);
  }
  fail(ErrorKind::internal, "an expression of kind {}", static_cast<int>(e.kind));
}

Value Interpreter::name(const Expr& e) {
  if (const Value* v = scope_->find(e.name)) return *v;
  if (auto function = global_function(e.name)) return function;
  if (e.name == "self" || e.name == "lipsum" || e.name == "cycler" || e.name == "joiner")
    run_.unsupported("the name '{}'", e.name);
  run_.spend(sizeof(std::string));
  return Undefined{std::make_shared<const std::string>("'" + e.name + "'")};
}

Value Interpreter::dict(const Expr& e) {
  auto d = std::make_shared<Dict>();
  for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
    const Value key = evaluate(*e.parts[i]);
    d->set(run_, key, evaluate(*e.parts[i + 1]));
  }
  return d;
}

Value Interpreter::comparison(const Expr& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.ops.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    run_.line = e.line;
    const std::string& op = e.ops[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = equal(run_, left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(run_, right, left) == (op == "in");
    } else {
      const int order = compare(run_, left, right, op);
      holds = order != 2 && (op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0);
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::concat(const Expr& e) {
  std::string text;
  for (const auto& p : e.parts) {
    const Value v = evaluate(*p);
    if (v.is_text()) run_.spend(v.text().size());
    text += to_text(run_, v);
  }
  return text;
}

Items Interpreter::all(const std::vector<ExprPtr>& parts) {
  Items items;
  for (const auto& p : parts) items.push_back(evaluate(*p));
  return items;
}

Arguments Interpreter::arguments(const CallArguments& given) {
  Arguments a{.positional = all(given.positional), .named = {}};
  for (const auto& [name, value] : given.named) a.named.emplace_back(name, evaluate(*value));
  return a;
}

// The filter that stands innermost on a block has no subject of its own: it gets the block's text.
Value Interpreter::filtered(const Expr& e, const Value& text) {
  const Expr* inner = e.parts[0].get();
  const Value subject = !inner ? text : inner->kind == Kind::filter ? filtered(*inner, text) : evaluate(*inner);
  const Arguments given = arguments(e.arguments);
  run_.line = e.line;
  return call_filter(*this, e.name, subject, given);
}

}  // namespace kerf::jinja
