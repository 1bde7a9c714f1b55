#include "grids/codebook.h"

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

Codebook::Codebook(IqCodebook which, bool even_signs) : even(even_signs), entries(entries_of(which)) {
  const bool fours = which == IqCodebook::iq3_xxs || which == IqCodebook::iq3_s;
  weights = fours ? 4 : 8;
  std::vector<uint8_t> bytes;
  for (int e = 0; e < entries; ++e)
    for (int j = 0; j < weights; ++j)
      bytes.push_back(static_cast<uint8_t>((fours ? iq_fours(which)[e] : iq_eights(which)[e]) >> 8 * j & 255));
  std::vector<uint8_t> distinct = bytes;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  magnitude.assign(distinct.begin(), distinct.end());
  alone = Alphabet(magnitude);
  values.assign(bytes.begin(), bytes.end());
  negative = fours ? 8 : 4;
  half_count = fours ? 64 : 81;
  index.assign(static_cast<size_t>(half_count * half_count), -1);
  for (const uint8_t b : bytes)
    rank.push_back(static_cast<uint8_t>(std::lower_bound(distinct.begin(), distinct.end(), b) - distinct.begin()));
  for (int e = 0; e < entries; ++e) {
    const uint8_t* r = rank.data() + e * weights;
    const int first = half_of(r), second = half_of(r + weights / 2);
    halves.push_back(static_cast<uint8_t>(first));
    halves.push_back(static_cast<uint8_t>(second));
    index[static_cast<size_t>(first * half_count + second)] = static_cast<int16_t>(e);
  }
}

int Codebook::half_of(const uint8_t* ranks) const {
  int number = 0;
  for (int j = weights / 2; j-- > 0;) number = number * static_cast<int>(magnitude.size()) + ranks[j];
  return number;
}

int Codebook::entry_of(const uint8_t* codes) const {
  uint8_t ranks[8];
  for (int j = 0; j < weights; ++j) ranks[j] = codes[j] & static_cast<uint8_t>(negative - 1);
  const bool known = std::all_of(ranks, ranks + weights, [&](uint8_t r) { return r < magnitude.size(); });
  const int e = known ? index[static_cast<size_t>(half_of(ranks) * half_count + half_of(ranks + weights / 2))] : -1;
  if (e < 0) fail(ErrorKind::internal, "codes that are not in the codebook were to be packed");
  return e;
}

std::vector<float> Codebook::numbers() const {
  std::vector<float> x;
  for (const float sign : {1.0f, -1.0f})
    for (size_t r = 0; r < negative; ++r) x.push_back(sign * magnitude[std::min(r, magnitude.size() - 1)]);
  return x;
}

const Codebook& codebook(std::string_view name) {
  struct Named {
    std::string_view name;
    Codebook book;
  };
  static const Named books[] = {{"iq2_xxs", {IqCodebook::iq2_xxs, true}},
                                {"iq2_xs", {IqCodebook::iq2_xs, true}},
                                {"iq2_s", {IqCodebook::iq2_s, false}},
                                {"iq3_xxs", {IqCodebook::iq3_xxs, true}},
                                {"iq3_s", {IqCodebook::iq3_s, false}}};
  for (const Named& n : books)
    if (n.name == name) return n.book;
  fail(ErrorKind::internal, "there is no codebook '{}'", name);
}

}  // namespace kerf
