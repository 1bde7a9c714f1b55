// str() and repr().
#include <array>
#include <charconv>
#include <cmath>

#include "model/chat/jinja_text.h"
#include "model/chat/jinja_value.h"

namespace kerf::jinja {
namespace {

std::string list_repr(Run& run, const List& l) {
  const bool tuple = l.kind == List::Kind::tuple;
  std::string out(1, tuple ? '(' : '[');
  for (size_t i = 0; i < l.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += to_repr(run, l.items[i]);
  }
  if (tuple && l.items.size() == 1) out += ',';
  out += tuple ? ')' : ']';
  run.spend(out.size());
  return out;
}

std::string dict_repr(Run& run, const Dict& d) {
  std::string out = "{";
  for (const auto& [key, value] : d.entries()) {
    if (out.size() > 1) out += ", ";
    out += to_repr(run, key) + ": " + to_repr(run, value);
  }
  out += '}';
  run.spend(out.size());
  return out;
}

}  // namespace

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  std::array<char, 40> digits;  // sign, 17 digits, point, e-308
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), d, std::chars_format::scientific).ptr;
  std::string s(digits.data(), end);
  const size_t e = s.find('e');
  const int exponent = std::stoi(s.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return s;  // both write at least two digits of the exponent
  std::string plain(digits.data(),
                    std::to_chars(digits.data(), digits.data() + digits.size(), d, std::chars_format::fixed).ptr);
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

std::string to_repr(Run& run, const Value& v) {
  run.step();
  if (v.is_undefined()) return "Undefined";
  if (!v.is_text()) return to_text(run, v);
  run.spend(v.text().size());
  if (v.safe()) run.unsupported("printing a list with a text marked as safe");
  return quoted(v.text());
}

std::string to_text(Run& run, const Value& v) {
  if (v.is_undefined()) return "";
  if (v.is_text()) return v.text();
  if (v.is<None>()) return "None";
  if (v.is<bool>()) return *v.integer() != 0 ? "True" : "False";
  if (v.integer()) return std::to_string(*v.integer());
  if (v.number()) return float_repr(*v.number());
  if (const List* l = v.list(); l && (l->kind == List::Kind::list || l->kind == List::Kind::tuple))
    return list_repr(run, *l);
  if (const Dict* d = v.dict()) return dict_repr(run, *d);
  run.unsupported("printing a {}", type_name(v));
}

}  // namespace kerf::jinja
