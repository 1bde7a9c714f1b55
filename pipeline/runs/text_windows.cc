#include "pipeline/runs/text_windows.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "distill/own_text.h"
#include "model/chat/calibration_text.h"
#include "model/text/text_file.h"

namespace kerf {
namespace {

// What both kinds of windows need of a model and promise about their ids.
Windows windows_of(const Artifact& a, int64_t ctx, std::string_view option,
                   const std::function<Windows(const Tokenizer&, std::optional<int32_t> bos)>& cut) {
  if (ctx > a.architecture.context)
    fail(ErrorKind::usage, "{} {} is longer than the {} tokens that the model was made for", option, ctx,
         a.architecture.context);
  if (a.tokenizer().tokens.empty())
    fail(ErrorKind::bad_input, "{} has no tokenizer.json beside it, so a text cannot be cut into tokens",
         a.path.string());
  Windows windows = cut(Tokenizer(a.tokenizer()), a.tokenizer().bos ? a.tokenizer().bos : a.architecture.bos);
  for (const int32_t id : windows.ids)
    if (id < 0 || id >= a.architecture.vocab())
      fail(ErrorKind::bad_input, "the tokenizer gave token {}, and the embedding of {} has {} rows", id,
           a.path.string(), a.architecture.vocab());
  return windows;
}

// Remarks go into reports, which hold no paths.
std::string short_name(const std::filesystem::path& text) { return text_name(text.filename()); }

void remark_on_count(const std::filesystem::path& text, const Windows& w, int64_t asked, std::string_view option,
                     std::vector<std::string>& remarks) {
  if (w.count < asked)
    remarks.push_back(fmt::format("{} holds {} window{} of {} tokens, and {} were asked for ({})", short_name(text),
                                  w.count, w.count == 1 ? "" : "s", w.length, asked, option));
}

std::string_view without_space_around(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool contains(std::string_view text, std::string_view part) {
  return !part.empty() && ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

// How the two texts stand to each other, by content alone; "" when they have nothing to do with each other.
std::string relation(const std::filesystem::path& evaluation, const std::filesystem::path& calibration) {
  const std::string e = read_text_file(evaluation), c = read_text_file(calibration);
  const std::string_view inner_e = without_space_around(e), inner_c = without_space_around(c);
  const std::string names = fmt::format("{} and {}", short_name(evaluation), short_name(calibration));
  if (inner_e == inner_c)
    return evaluation == calibration
               ? fmt::format("calibration and evaluation are on one text, {}", short_name(evaluation))
               : fmt::format("calibration and evaluation are on one text: {} have the same content", names);
  if (contains(inner_c, inner_e))
    return fmt::format("the evaluation text {} is a part of the calibration text {}", short_name(evaluation),
                       short_name(calibration));
  if (contains(inner_e, inner_c))
    return fmt::format("the calibration text {} is a part of the evaluation text {}", short_name(calibration),
                       short_name(evaluation));
  return "";
}

}  // namespace

Windows own_windows(const Artifact& a, const CalibrationOptions& c, int64_t tokens, double temperature) {
  return windows_of(a, c.ctx, "--calib-ctx", [&](const Tokenizer&, std::optional<int32_t> bos) {
    OwnText o{.windows = std::min(c.windows, std::max<int64_t>(1, tokens / c.ctx)),
              .length = c.ctx,
              .temperature = temperature,
              .seed = c.seed,
              .bos = bos,
              .ends = a.architecture.eos};
    static std::map<std::string, Windows> written;  // the run asks more than once
    const std::string key = fmt::format("{}|{}|{}|{}|{}", a.path.string(), o.windows, o.length, temperature, o.seed);
    if (const auto at = written.find(key); at != written.end()) return at->second;
    Progress progress("the model writes a window of its own text", o.windows);
    return written[key] = write_own_text(a.architecture, *a.weights, o, [&](int64_t n) { progress.advance(n); });
  });
}

std::optional<Windows> read_windows(const Artifact& a, const EvalOptions& e) {
  if (e.text.empty()) return std::nullopt;
  return windows_of(a, e.ctx, "--ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_evaluation(tokenizer, bos, read_text_file(e.text), e.text, a.path.string(), e.ctx, e.windows,
                          e.skip_tokens);
  });
}

EvalOptions of_second_text(const EvalOptions& e) {
  if (e.text.empty() && !e.second_text.empty())
    fail(ErrorKind::usage, "--second-text {} stands beside the text of --text, which is missing",
         e.second_text.string());
  if (!e.second_text.empty() && e.second_text == e.text)
    fail(ErrorKind::usage, "--second-text and --text are both {}; give a text of another kind, or leave it out",
         e.text.string());
  EvalOptions second = e;
  second.text = std::exchange(second.second_text, {});
  second.skip_tokens = 0;
  return second;
}

Windows read_calibration(const Artifact& a, const CalibrationOptions& c, bool answers) {
  if (const auto tokens = own_text_tokens(c.text)) return own_windows(a, c, *tokens, 1);
  return windows_of(a, c.ctx, "--calib-ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_calibration(tokenizer, bos, read_text_file(c.text), c.text, a.path.string(),
                           {.count = c.windows, .length = c.ctx, .seed = c.seed, .answers = answers});
  });
}

Windows read_imatrix_chunks(const Artifact& a, const CalibrationOptions& c) {
  const std::string text = read_text_file(c.text);
  if (c.seed != 0 || holds_records(text, c.text)) return read_calibration(a, c);
  return windows_of(a, c.ctx, "--calib-ctx", [&](const Tokenizer& tokenizer, std::optional<int32_t> bos) {
    return cut_chunks(tokenizer.encode(text, false), a.tokenizer().add_bos ? bos : std::nullopt, c.ctx, c.windows);
  });
}

std::vector<std::string> remarks_on_windows(const EvalOptions& e, const Windows* evaluated, const CalibrationOptions& c,
                                            const Windows* calibrated) {
  std::vector<std::string> remarks;
  if (evaluated) remark_on_count(e.text, *evaluated, e.windows, "--windows", remarks);
  if (calibrated) remark_on_count(c.text, *calibrated, c.windows, "--calib-windows", remarks);
  if (!evaluated || !calibrated || own_text_tokens(c.text)) return remarks;
  const int64_t shared = windows_shared(*evaluated, *calibrated);
  std::string how = relation(e.text, c.text);
  if (how.empty() && shared == 0) return remarks;
  if (how.empty()) how = fmt::format("{} and {} have text in common", short_name(e.text), short_name(c.text));
  remarks.push_back(
      shared > 0 ? fmt::format(
                       "{}: {} of the {} windows that are evaluated were calibrated on, so the figures are better than "
                       "on other text; give a text that was held out",
                       how, shared, evaluated->count)
                 : fmt::format("{}; none of the windows that are evaluated was calibrated on", how));
  return remarks;
}

}  // namespace kerf
