#include "pipeline/plan/frozen_plan.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "core/version.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kChecksum = "sha256";
constexpr uint64_t kLongest = uint64_t{1} << 30;  // bytes

std::string checksum(ordered_json j) {
  j.erase(kChecksum);
  Sha256 sum;
  sum.update(as_bytes(shown_json(j, -1)));
  return sum.finish();
}

ordered_json to_json(const FrozenTarget& t) {
  const TargetPlan& plan = *t.plan;
  ordered_json j = {{"target", plan.choice.text()},
                    {"hash", plan.hash()},
                    {"file", plan.file_name},
                    {"shard_bytes", plan.file.shard_bytes},
                    {"matrices", ordered_json::array()}};
  for (const PlannedMatrix& m : plan.matrices) {
    ordered_json matrix = {{"name", m.site.name}, {"scheme", m.scheme}};
    if (!m.method.empty()) matrix["method"] = m.method;
    for (const size_t i : m.file_tensors) {
      const PlannedTensor& tensor = plan.file.tensors[i];
      matrix["tensors"].push_back({{"name", tensor.name}, {"type", tensor.type}, {"bytes", tensor.bytes}});
    }
    j["matrices"].push_back(std::move(matrix));
  }
  if (t.allocation) j["budget"] = to_json(*t.allocation);
  return j;
}

[[noreturn]] void damaged(const fs::path& file, std::string_view what) {
  fail(ErrorKind::bad_input, "{}: {}; remove {} and begin anew", file.string(), what, file.parent_path().string());
}

}  // namespace

void write_frozen_plan(const fs::path& file, const ordered_json& run, const Recipe& recipe,
                       std::span<const FrozenTarget> targets) {
  ordered_json j = {{"kerf", version()}, {"run", run}, {"recipe", to_json(recipe)}, {"targets", ordered_json::array()}};
  for (const FrozenTarget& t : targets) j["targets"].push_back(to_json(t));
  j[kChecksum] = checksum(j);
  fs::create_directories(file.parent_path());
  write_text(file, shown_json(j) + "\n");
}

std::optional<FrozenAllocation> read_frozen_allocation(const fs::path& file, const ordered_json& run) {
  if (!fs::exists(file)) return std::nullopt;
  // Whatever was not written by kerf differs in its checksum; nothing of it is looked at before.
  const ordered_json j = parse_json_or_discard(read_text(file, kLongest));
  try {
    if (!j.is_object() || j.at(kChecksum) != checksum(j))
      damaged(file, "the content is not what was saved: its SHA-256 is another");
    refuse_other_run(file.parent_path(), j.at("run"), run);
    const ordered_json& target = j.at("targets").at(0);
    if (!target.contains("budget")) return std::nullopt;
    return FrozenAllocation{allocation_from_json(target.at("budget")), target.at("hash")};
  } catch (const nlohmann::json::exception& e) {
    damaged(file, fmt::format("it cannot be read ({})", e.what()));
  }
}

void refuse_other_run(const fs::path& folder, const ordered_json& before, const ordered_json& now) {
  std::string differences;
  for (const auto& [key, value] : now.items()) {
    const std::string then = before.contains(key) ? shown_json(before[key], -1) : "nothing";
    const std::string today = shown_json(value, -1);
    if (then != today) differences += fmt::format("\n  {}: {} there, {} now", key, then, today);
  }
  if (!differences.empty())
    fail(ErrorKind::usage,
         "{} is of another run, which this one cannot go on with; remove it, or ask for the same again:{}",
         folder.string(), differences);
}

}  // namespace kerf
