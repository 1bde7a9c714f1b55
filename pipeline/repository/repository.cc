#include "pipeline/repository/repository.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/report/source_identity.h"

namespace kerf {
namespace fs = std::filesystem;

const Repository& find_repository(std::string_view name) {
  for (const Repository* r : all_repositories())
    if (r->name == name) return *r;
  fail(ErrorKind::internal, "there is no kind of repository '{}'", name);
}

const Repository& repository_of(const Target& target) { return find_repository(target.repository()); }

void complete(TargetPlan& plan, const Architecture& planned, const Artifact& source, const std::string& model,
              uint64_t shard_bytes, const std::string& variant) {
  const Repository& kind = repository_of(*plan.choice.target);
  plan.file_name = kind.weights_name(model, variant.empty() ? plan.choice.scheme : variant);
  if (kind.check_source) kind.check_source(source);
  plan.file.metadata = kind.metadata(planned, source.tokenizer, model, plan.usual_scheme());
  if (kind.carry_over) kind.carry_over(source, plan.file.metadata);
  plan.file.shard_bytes = shard_bytes ? shard_bytes : kind.shard_bytes;
}

uint64_t file_bytes(const TargetPlan& plan) {
  const Container& container = find_container(repository_of(*plan.choice.target).container);
  uint64_t bytes = 0;
  for (const Placement::File& f : container.place(plan.file_name, plan.file).files) bytes += f.size;
  return bytes;
}

uint64_t adapter_bytes(const TargetPlan& plan, const Architecture& a, int64_t rank) {
  return repository_of(*plan.choice.target).adapter_bytes(a, rank, plan.file_name);
}

std::unique_ptr<Writer> create_weights(const TargetPlan& plan, const fs::path& folder) {
  return find_container(repository_of(*plan.choice.target).container)
      .create(plan.file_name.empty() ? folder : folder / plan.file_name, plan.file);
}

fs::path entrance(const TargetPlan& plan, const fs::path& folder, std::span<const fs::path> weights) {
  return plan.file_name.empty() ? folder : weights.front();
}

std::vector<fs::path> copy_licences(const fs::path& source, const fs::path& folder) {
  std::vector<fs::path> written;
  for (const fs::path& file : licence_files(folder_of_model(source))) {
    written.push_back(folder / file.filename());
    write_text(written.back(), read_text(file));
  }
  return written;
}

bool is_weights_file(std::string_view file, std::string_view name) {
  if (file == name) return true;
  constexpr std::string_view kPattern = "-ddddd-of-ddddd";
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view stem = name.substr(0, dot), extension = name.substr(dot);
  if (file.size() != name.size() + kPattern.size() || !file.starts_with(stem) || !file.ends_with(extension))
    return false;
  file = file.substr(stem.size(), kPattern.size());
  return std::equal(file.begin(), file.end(), kPattern.begin(),
                    [](char c, char wanted) { return wanted == 'd' ? c >= '0' && c <= '9' : c == wanted; });
}

}  // namespace kerf
