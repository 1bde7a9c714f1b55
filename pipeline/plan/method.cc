#include "pipeline/plan/method.h"

#include <algorithm>

#include "core/error.h"

namespace kerf {

bool Method::needs_calibration() const {
  return scaled || std::any_of(quantizers.begin(), quantizers.end(), [](auto* q) { return q->needs_hessian(); });
}

Method parse_method(std::string_view name, bool calibrated) {
  if (name.empty()) name = calibrated ? "auto" : "rtn";
  Method m{.name = std::string(name)};
  const Quantizer& nearest = find_quantizer("rtn");
  m.quantizers = {&nearest};
  if (name == "awq") {
    m.plain = false;
    m.scaled = true;
    return m;
  }
  if (name == "auto") {
    m.scaled = m.held_out = true;
    m.quantizers.push_back(&find_quantizer("gptq"));
    return m;
  }
  std::string_view first = name;
  if (const size_t plus = name.find('+'); plus != name.npos && name.substr(plus) == "+awq") {
    first = name.substr(0, plus);
    m.plain = false;
    m.scaled = true;
  }
  for (const Quantizer* q : all_quantizers()) {
    if (q->name() != first) continue;
    if (q != &nearest) m.quantizers.push_back(q);
    return m;
  }
  fail(ErrorKind::usage, "there is no method '{}'; the methods are {}", name, fmt::join(method_names(), ", "));
}

std::vector<std::string> method_names() {
  std::vector<std::string> names = {"auto", "awq"};
  for (const Quantizer* q : all_quantizers()) {
    names.emplace_back(q->name());
    if (q->needs_hessian()) names.push_back(fmt::format("{}+awq", q->name()));
  }
  return names;
}

}  // namespace kerf
