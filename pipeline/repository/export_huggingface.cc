// The target says what config.json must tell its loader; the rest is copied as it is.
#include "pipeline/repository/export_huggingface.h"

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/json.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kCompanions[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "tokenizer.model",
                                       "vocab.json",
                                       "merges.txt",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "generation_config.json",
                                       "LICENSE",
                                       "LICENSE.txt",
                                       "LICENSE.md",
                                       "NOTICE"};

std::vector<StoredSite> sites_of(const TargetPlan& plan) {
  std::vector<StoredSite> sites;
  for (const PlannedMatrix& m : plan.matrices)
    sites.push_back({{.name = m.site.name, .place = m.site.place, .out = m.site.out, .in = m.site.in}, m.storage});
  return sites;
}

}  // namespace

std::vector<fs::path> write_huggingface_companions(const fs::path& source, const TargetPlan& plan,
                                                   const fs::path& out) {
  std::vector<fs::path> written;
  ordered_json config = parse_ordered_json(read_text(source / "config.json"), (source / "config.json").string());
  const Target& target = *plan.choice.target;
  target.configure(config, plan.choice.scheme, sites_of(plan));
  std::vector<CompanionFile> files = target.companions(config);
  files.push_back({"config.json", config.dump(2) + "\n"});
  for (const CompanionFile& file : files) {
    write_text(out / file.name, file.text);
    written.push_back(out / file.name);
  }
  for (const char* name : kCompanions) {
    if (!fs::is_regular_file(source / name)) continue;
    write_text(out / name, read_text(source / name));
    written.push_back(out / name);
  }
  return written;
}

}  // namespace kerf
