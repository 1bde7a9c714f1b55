// Windows are cut back to back, so that every id of the text is used at most once.
#include "model/text/windows.h"

#include <algorithm>

#include "core/error.h"

namespace kerf {

Windows cut_windows(std::span<const int32_t> ids, std::optional<int32_t> bos, int64_t context, int64_t most,
                    int64_t skip) {
  if (context < 2)
    fail(ErrorKind::usage, "a window of {} token(s) was asked for; at least 2 are needed to predict one", context);
  if (most < 0 || skip < 0)
    fail(ErrorKind::usage, "{} windows after skipping {} tokens were asked for; neither may be negative", most, skip);
  const auto available = static_cast<int64_t>(ids.size());
  const int64_t step = bos ? context - 1 : context;
  const int64_t count = (available - std::min(skip, available)) / step;
  if (count == 0)
    fail(
        ErrorKind::bad_input,
        "the text has {} tokens, of which {} are skipped: too few for one window of {} (each takes {} tokens of text); "
        "give a longer text or a smaller context",
        available, skip, context, step);
  Windows w{.count = most > 0 ? std::min(most, count) : count, .length = context, .ids = {}, .bos = bos.has_value()};
  w.ids.reserve(static_cast<size_t>(w.tokens()));
  for (int64_t i = 0; i < w.count; ++i) {
    if (bos) w.ids.push_back(*bos);
    const auto begin = ids.begin() + (skip + i * step);
    w.ids.insert(w.ids.end(), begin, begin + step);
  }
  return w;
}

int64_t Windows::learned() const {
  if (answers.empty()) return count * (length - 1);
  int64_t n = 0;
  for (int64_t t = 0; t < tokens(); ++t) n += learns_after(t);
  return n;
}

Windows joined_windows(Windows a, const Windows& b) {
  if (!a.answers.empty() || !b.answers.empty()) {
    a.answers.resize(a.ids.size(), 1);
    a.answers.insert(a.answers.end(), b.answers.begin(), b.answers.end());
    a.answers.resize(a.ids.size() + b.ids.size(), 1);
  }
  a.ids.insert(a.ids.end(), b.ids.begin(), b.ids.end());
  a.count += b.count;
  return a;
}

Windows first_windows(Windows w, int64_t count) {
  w.count = count;
  w.ids.resize(static_cast<size_t>(w.tokens()));
  if (!w.answers.empty()) w.answers.resize(w.ids.size());
  return w;
}

Windows picked_windows(const Windows& all, std::span<const int64_t> which) {
  Windows some{.count = std::ssize(which), .length = all.length, .ids = {}, .bos = all.bos, .documents = all.documents};
  for (const int64_t i : which) {
    some.ids.insert(some.ids.end(), all.window(i).begin(), all.window(i).end());
    if (all.answers.empty()) continue;
    const auto from = all.answers.begin() + i * all.length;
    some.answers.insert(some.answers.end(), from, from + all.length);
  }
  return some;
}

Windows spread_windows(const Windows& all, int64_t count) {
  std::vector<int64_t> which;
  for (int64_t i = 0; i < count; ++i) which.push_back(i * all.count / count);
  return picked_windows(all, which);
}

int64_t windows_of_tokens(const Windows& w, int64_t tokens) {
  return std::clamp<int64_t>(tokens / w.length, 1, w.count);
}

Windows cut_chunks(std::span<const int32_t> ids, std::optional<int32_t> bos, int64_t context, int64_t most) {
  std::vector<int32_t> all;
  if (bos) all.push_back(*bos);
  all.insert(all.end(), ids.begin(), ids.end());
  Windows w = cut_windows(all, std::nullopt, context, most, 0);
  w.bos = bos.has_value();
  for (int64_t i = 0; bos && i < w.count; ++i) w.ids[static_cast<size_t>(i * w.length)] = *bos;
  return w;
}

}  // namespace kerf
