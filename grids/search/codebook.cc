#include "grids/search/codebook.h"

#include <algorithm>
#include <span>

#include "core/error.h"

namespace kerf {
namespace {

int entries_of(IqCodebook which) {
  switch (which) {
    case IqCodebook::iq2_xxs:
    case IqCodebook::iq3_xxs:
      return 256;
    case IqCodebook::iq2_xs:
    case IqCodebook::iq3_s:
      return 512;
    case IqCodebook::iq2_s:
      return 1024;
    case IqCodebook::iq1:
      return 2048;
  }
  return 0;
}

}  // namespace

Codebook::Codebook(IqCodebook which, SignEncoding what) : beside(what), entries(entries_of(which)) {
  const bool fours = which == IqCodebook::iq3_xxs || which == IqCodebook::iq3_s;
  weights = fours ? 4 : 8;
  std::vector<int8_t> bytes;
  for (int e = 0; e < entries; ++e)
    for (int j = 0; j < weights; ++j)
      bytes.push_back(static_cast<int8_t>((fours ? iq_fours(which)[e] : iq_eights(which)[e]) >> 8 * j & 255));
  std::vector<int8_t> distinct = bytes;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  number.assign(distinct.begin(), distinct.end());
  flag = fours ? 8 : 4;
  for (const int8_t b : bytes)
    rank.push_back(static_cast<uint8_t>(std::lower_bound(distinct.begin(), distinct.end(), b) - distinct.begin()));

  half_count = fours ? 64 : 81;
  for (int half = 0; half < half_count; ++half) {
    int32_t numbers = 0, ranks = 0;
    for (int j = 0, rest = half; j < weights / 2; ++j, rest /= static_cast<int>(number.size())) {
      const int digit = rest % static_cast<int>(number.size());
      numbers |= (static_cast<int>(number[static_cast<size_t>(digit)]) & 255) << 8 * j;
      ranks |= digit << 8 * j;
    }
    half_numbers.push_back(numbers);
    half_ranks.push_back(ranks);
  }
  index.assign(static_cast<size_t>(half_count * half_count), -1);
  for (int e = 0; e < entries; ++e) {
    const uint8_t* r = rank.data() + e * weights;
    const int first = half_of(r), second = half_of(r + weights / 2);
    index[static_cast<size_t>(first * half_count + second)] = static_cast<int16_t>(e);
  }
  for (int second = 0; second < half_count; ++second) {
    const size_t before = firsts.size();
    for (int first = 0; first < half_count; ++first)
      if (index[static_cast<size_t>(first * half_count + second)] >= 0) firsts.push_back(static_cast<uint8_t>(first));
    if (firsts.size() > before)
      groups.push_back({static_cast<uint8_t>(second), static_cast<uint8_t>(firsts.size() - before)});
  }
}

int Codebook::half_of(const uint8_t* ranks) const {
  int half = 0;
  for (int j = weights / 2; j-- > 0;) half = half * static_cast<int>(number.size()) + ranks[j];
  return half;
}

int Codebook::entry_of(const uint8_t* codes) const {
  uint8_t ranks[8];
  for (int j = 0; j < weights; ++j) ranks[j] = codes[j] & static_cast<uint8_t>(flag - 1);
  const bool known = std::all_of(ranks, ranks + weights, [&](uint8_t r) { return r < number.size(); });
  const int e = known ? index[static_cast<size_t>(half_of(ranks) * half_count + half_of(ranks + weights / 2))] : -1;
  if (e < 0) fail(ErrorKind::internal, "codes that are not in the codebook were to be packed");
  return e;
}

std::vector<float> Codebook::numbers() const {
  std::vector<float> x;
  for (const float sign : {1.0f, -1.0f}) {
    if (beside == SignEncoding::delta_of_block && sign < 0) break;
    for (size_t r = 0; r < flag; ++r) {
      const float n = number[std::min(r, number.size() - 1)];
      x.push_back(has_signs() ? sign * n : n + sign);
    }
  }
  return x;
}

const Codebook& codebook(std::string_view name) {
  struct Named {
    std::string_view name;
    Codebook book;
  };
  static const Named books[] = {{"iq1_s", {IqCodebook::iq1, SignEncoding::delta_of_block}},
                                {"iq1_m", {IqCodebook::iq1, SignEncoding::delta_of_word}},
                                {"iq2_xxs", {IqCodebook::iq2_xxs, SignEncoding::even_signs}},
                                {"iq2_xs", {IqCodebook::iq2_xs, SignEncoding::even_signs}},
                                {"iq2_s", {IqCodebook::iq2_s, SignEncoding::signs}},
                                {"iq3_xxs", {IqCodebook::iq3_xxs, SignEncoding::even_signs}},
                                {"iq3_s", {IqCodebook::iq3_s, SignEncoding::signs}}};
  for (const Named& n : books)
    if (n.name == name) return n.book;
  fail(ErrorKind::internal, "there is no codebook '{}'", name);
}

}  // namespace kerf
