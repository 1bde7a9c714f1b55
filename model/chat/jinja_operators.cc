// Arithmetic as Python does it: / gives a float, // and % round down, + joins texts and lists, * repeats them.
#include <cmath>

#include "model/chat/jinja_builtins.h"

namespace kerf::jinja {
namespace {

[[noreturn]] void overflow(const Run& run) { run.unsupported("an integer past 64 bits"); }

int64_t floor_div(const Run& run, int64_t a, int64_t b) {
  if (b == 0) run.wrong("a division by zero");
  if (a == INT64_MIN && b == -1) overflow(run);
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

Value integer_power(const Run& run, int64_t base, int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow(run);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow(run);
  }
  return result;
}

Value integers(const Run& run, std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool past = false;
  if (op == "+")
    past = __builtin_add_overflow(a, b, &result);
  else if (op == "-")
    past = __builtin_sub_overflow(a, b, &result);
  else if (op == "*")
    past = __builtin_mul_overflow(a, b, &result);
  else if (op == "//")
    result = floor_div(run, a, b);
  else if (op == "%")
    result = b == -1 ? 0 : a - floor_div(run, a, b) * b;
  else if (op == "**")
    return integer_power(run, a, b);
  else if (b == 0)
    run.wrong("a division by zero");
  else
    return static_cast<double>(a) / static_cast<double>(b);
  if (past) overflow(run);
  return result;
}

Value floats(const Run& run, std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    if (a == 0 && b < 0) run.wrong("a division by zero");
    if (a < 0 && b != std::floor(b)) run.unsupported("a complex number");
    return std::pow(a, b);
  }
  if (b == 0) run.wrong("a division by zero");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return rest == 0 ? std::copysign(0.0, b) : rest;
  const double quotient = (a - rest) / b;  // near an integer
  const double down = std::floor(quotient);
  return quotient - down > 0.5 ? down + 1 : down;
}

Value repeated(Run& run, const Value& v, int64_t times) {
  const auto n = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  const uint64_t size = v.is_text() ? v.text().size() : v.list()->items.size() * sizeof(Value);
  uint64_t bytes = 0;
  run.spend(__builtin_mul_overflow(size, n, &bytes) ? UINT64_MAX : bytes);
  if (v.is_text()) {
    std::string text;
    for (uint64_t i = 0; size > 0 && i < n; ++i) text += v.text();
    return text;
  }
  Items items;
  for (uint64_t i = 0; size > 0 && i < n; ++i)
    items.insert(items.end(), v.list()->items.begin(), v.list()->items.end());
  return make_list(run, std::move(items), v.list()->kind);
}

bool is_sequence(const Value& v) {
  const List* l = v.list();
  return v.is_text() || (l && (l->kind == List::Kind::list || l->kind == List::Kind::tuple));
}

Value added(Run& run, const Value& a, const Value& b) {
  if (a.is_text()) {
    if (a.safe() || b.safe()) run.unsupported("'+' with a text marked as safe, which would escape HTML");
    run.spend(a.text().size() + b.text().size());
    return a.text() + b.text();
  }
  Items items = a.list()->items;
  items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
  return make_list(run, std::move(items), a.list()->kind);
}

}  // namespace

Value arithmetic(Run& run, std::string_view op, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b})
    if (const Undefined* u = std::get_if<Undefined>(&v->data()))
      run.wrong("'{}' with {}, which is undefined", op, u->what ? *u->what : "something");
  if (a.integer() && b.integer()) return integers(run, op, *a.integer(), *b.integer());
  if (a.number() && b.number()) return floats(run, op, *a.number(), *b.number());
  if (op == "%" && a.is_text()) run.unsupported("the formatting of a str with '%'");
  if (op == "+" && is_sequence(a) && is_sequence(b) && type_name(a) == type_name(b)) return added(run, a, b);
  if (op == "*" && is_sequence(a) && b.integer()) return repeated(run, a, *b.integer());
  if (op == "*" && is_sequence(b) && a.integer()) return repeated(run, b, *a.integer());
  run.wrong("'{}' is not defined between {} and {}", op, type_name(a), type_name(b));
}

Value negated(Run& run, const Value& v) {
  if (const auto i = v.integer()) return integers(run, "-", 0, *i);
  if (const auto d = v.number()) return -*d;
  if (v.is_undefined()) run.wrong("the negative of an undefined value");
  run.wrong("a sign before a {}", type_name(v));
}

}  // namespace kerf::jinja
