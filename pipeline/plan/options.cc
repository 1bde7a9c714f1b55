#include "pipeline/plan/options.h"

#include <charconv>

#include "core/error.h"
#include "core/units.h"

namespace kerf {

std::optional<int64_t> own_text_tokens(const std::filesystem::path& text) {
  constexpr std::string_view kSelf = "self:";
  const std::string name = text.string();
  if (!name.starts_with(kSelf)) return std::nullopt;
  int64_t tokens = 0;
  const char *begin = name.data() + kSelf.size(), *end = name.data() + name.size();
  const auto [at, error] = std::from_chars(begin, end, tokens);
  if (error != std::errc() || at != end || tokens < 1)
    fail(ErrorKind::usage, "{}: the number of tokens that the model is to write is missing; give self:100000, say",
         name);
  return tokens;
}

std::vector<int64_t> parse_steps(const std::vector<std::string>& texts, size_t phases) {
  std::vector<int64_t> steps;
  for (const std::string& text : texts) {
    int64_t& n = steps.emplace_back();
    const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || at != text.data() + text.size() || n < 1 || n > 1'000'000'000)
      fail(ErrorKind::usage, "--steps {}: it is a number of steps, 1 at least", text);
  }
  if (steps.size() == 1) steps.resize(phases, steps[0]);
  if (!steps.empty() && steps.size() != phases)
    fail(ErrorKind::usage, "--steps has {} numbers, and --distill {} phases; give one for all or one for each",
         steps.size(), phases);
  return steps;
}

double parse_duration(const std::string& text) {
  const auto n = number_and_unit(text);
  const double unit = !n ? 0 : n->unit == "s" ? 1 : n->unit == "min" ? 60 : n->unit == "h" ? 3600 : 0;
  if (unit == 0 || !(n->number > 0)) fail(ErrorKind::usage, "'{}' is no time; give 90s, 20min or 1.5h", text);
  return n->number * unit;
}

}  // namespace kerf
