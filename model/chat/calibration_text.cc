// No more records are read than the windows need.
#include "model/chat/calibration_text.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "core/error.h"
#include "core/log.h"
#include "core/random.h"
#include "model/chat/answers.h"
#include "model/text/text_file.h"

namespace kerf {
namespace {

// 0 .. count - 1 in the order of the seed.
std::vector<size_t> order_of(size_t count, uint64_t seed) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  if (seed == 0) return order;
  const auto key = [seed](size_t i) { return splitmix64(seed + (i + 1) * 0x9E3779B97F4A7C15u); };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  return order;
}

Windows documents_in_windows(const Tokenizer& tokenizer, Records& records, const std::string& name,
                             const CalibrationWindows& wanted, int64_t skip) {
  Windows w{.count = 0, .length = wanted.length, .ids = {}, .documents = true};
  size_t enough = 0, all = SIZE_MAX;
  const auto skipped = static_cast<size_t>(skip);
  if (wanted.count > 0 && !__builtin_mul_overflow(wanted.count, wanted.length, &enough) &&
      !__builtin_add_overflow(enough, skipped, &enough))
    all = enough;
  for (const size_t i : order_of(records.size(), wanted.seed)) {
    if (w.ids.size() >= all) break;
    const Document d = records.document(i, {.find_answers = wanted.answers});
    const std::vector<int32_t> ids = encode(tokenizer, d);
    w.ids.insert(w.ids.end(), ids.begin(), ids.end());
    if (!wanted.answers) continue;
    const std::vector<uint8_t> answers = answers_of(tokenizer, d, ids);
    w.answers.insert(w.answers.end(), answers.begin(), answers.end());
  }
  const size_t there = w.ids.size();
  w.ids.erase(w.ids.begin(), w.ids.begin() + static_cast<std::ptrdiff_t>(std::min(skipped, there)));
  w.count = static_cast<int64_t>(w.ids.size()) / wanted.length;
  if (wanted.count > 0) w.count = std::min(wanted.count, w.count);
  if (w.count == 0)
    fail(ErrorKind::bad_input,
         "the {} documents of {} have {} tokens together{}: too few for one window of {}; give more text or a smaller "
         "context",
         records.size(), name, there, skip ? fmt::format(", of which {} are skipped", skip) : "", wanted.length);
  w.ids.resize(static_cast<size_t>(w.tokens()));
  if (!w.answers.empty()) w.answers.resize(w.ids.size());  // nothing is skipped of what is trained on
  return w;
}

Windows drawn(const Windows& all, const CalibrationWindows& wanted) {
  Windows w{.count = std::min(wanted.count, all.count), .length = all.length, .ids = {}, .bos = all.bos};
  const std::vector<size_t> order = order_of(static_cast<size_t>(all.count), wanted.seed);
  for (int64_t i = 0; i < w.count; ++i) {
    const auto window = all.window(static_cast<int64_t>(order[static_cast<size_t>(i)]));
    w.ids.insert(w.ids.end(), window.begin(), window.end());
  }
  return w;
}

void remark_on_damage(std::string_view text, const std::string& name) {
  if (begins_like_records(text))
    warn(fmt::format("{} begins as JSON does and is none, so all of it is taken as plain text", name));
}

}  // namespace

Windows cut_calibration(const Tokenizer& tokenizer, std::optional<int32_t> bos, std::string_view text,
                        const std::filesystem::path& file, const std::string& model, const CalibrationWindows& wanted) {
  if (wanted.length < 2 || wanted.count < 1)
    fail(ErrorKind::usage, "{} calibration windows of {} token(s) were asked for; at least 1 window of 2 is needed",
         wanted.count, wanted.length);
  const std::string name = text_name(file);
  require_text(text, name);
  if (holds_records(text, file)) {
    Records records(text, name, tokenizer.spec(), model);
    return documents_in_windows(tokenizer, records, name, wanted, 0);
  }
  remark_on_damage(text, name);
  const std::vector<int32_t> ids = tokenizer.encode(text, false);
  try {
    if (wanted.seed == 0) return cut_windows(ids, bos, wanted.length, wanted.count, 0);
    return drawn(cut_windows(ids, bos, wanted.length, 0, 0), wanted);
  } catch (const Error& e) {
    throw Error(e.kind(), name + ": " + e.what());
  }
}

Windows cut_evaluation(const Tokenizer& tokenizer, std::optional<int32_t> bos, std::string_view text,
                       const std::filesystem::path& file, const std::string& model, int64_t context, int64_t most,
                       int64_t skip) {
  const std::string name = text_name(file);
  require_text(text, name);
  if (!holds_records(text, file)) {
    remark_on_damage(text, name);
    try {
      return cut_windows(tokenizer.encode(text, false), bos, context, most, skip);
    } catch (const Error& e) {
      throw Error(e.kind(), name + ": " + e.what());
    }
  }
  if (context < 2 || most < 0 || skip < 0)
    fail(ErrorKind::usage,
         "{} windows of {} token(s) after skipping {} were asked for; windows have at least 2, and no number is "
         "negative",
         most, context, skip);
  Records records(text, name, tokenizer.spec(), model);
  return documents_in_windows(tokenizer, records, name, {.count = most, .length = context}, skip);
}

int64_t windows_shared(const Windows& windows, const Windows& others) {
  const int64_t run = std::clamp<int64_t>(std::min(windows.length, others.length) / 4, 1, kSharedIds);
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  uint64_t top = 1;  // kBase to the power of run - 1
  for (int64_t i = 1; i < run; ++i) top *= kBase;
  // Rabin-Karp: the hash of every run of a window.
  const auto each = [&](std::span<const int32_t> ids, const auto& take) {
    uint64_t hash = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (at >= run) hash -= top * (static_cast<uint64_t>(ids[i - static_cast<size_t>(run)]) + 1);
      hash = hash * kBase + static_cast<uint64_t>(ids[i]) + 1;
      if (at + 1 >= run) take(splitmix64(hash));
    }
  };
  std::unordered_set<uint64_t> known;
  for (int64_t w = 0; w < others.count; ++w) each(others.window(w), [&](uint64_t h) { known.insert(h); });
  int64_t shared = 0;
  for (int64_t w = 0; w < windows.count; ++w) {
    int64_t runs = 0, met = 0;
    each(windows.window(w), [&](uint64_t h) {
      ++runs;
      met += known.contains(h);
    });
    shared += 2 * met > runs;
  }
  return shared;
}

}  // namespace kerf
