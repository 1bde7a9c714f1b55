#include "pipeline/plan/allocation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace kerf {
using nlohmann::ordered_json;

bool Allocation::uniform() const {
  return std::all_of(sites.begin(), sites.end(), [&](const SiteChoice& s) { return s.scheme == sites[0].scheme; });
}

std::string describe(const Allocation& a) {
  std::map<std::string, int64_t> counts;
  for (const SiteChoice& s : a.sites) ++counts[s.scheme.substr(0, s.scheme.find("-pure"))];
  std::vector<std::pair<std::string, int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](auto& x, auto& y) { return x.second > y.second; });
  std::string text = fmt::format("types chosen for {} bytes: ", a.bytes);
  for (size_t i = 0; i < sorted.size(); ++i)
    text += i == 0 ? fmt::format("{} matrices in {}", sorted[i].second, sorted[i].first)
                   : fmt::format(", {} in {}", sorted[i].second, sorted[i].first);
  return text;
}

std::vector<SiteOverride> Allocation::overrides() const {
  std::vector<SiteOverride> all;
  for (const SiteChoice& s : sites) all.push_back({.sites = {s.name}, .scheme = s.scheme});
  return all;
}

ordered_json to_json(const Allocation& a) {
  ordered_json j = {{"bytes", a.bytes}, {"predicted_kl", a.kl}};
  j["curve"] = ordered_json::array();
  for (const Budget::Point& p : a.curve) j["curve"].push_back({{"bytes", p.bytes}, {"predicted_kl", p.cost}});
  j["scheme"] = a.scheme;
  j["sites"] = ordered_json::array();
  for (const SiteChoice& s : a.sites)
    j["sites"].push_back(
        {{"name", s.name}, {"scheme", s.scheme}, {"bytes", s.bytes}, {"predicted_kl", s.predicted_kl}});
  return j;
}

Allocation allocation_from_json(const ordered_json& j) {
  Allocation a{.sites = {}, .scheme = j.at("scheme"), .bytes = j.at("bytes"), .kl = j.at("predicted_kl"), .curve = {}};
  for (const ordered_json& p : j.at("curve")) a.curve.push_back({p.at("bytes"), p.at("predicted_kl")});
  for (const ordered_json& s : j.at("sites"))
    a.sites.push_back({s.at("name"), s.at("scheme"), s.at("bytes"), s.at("predicted_kl")});
  return a;
}

}  // namespace kerf
