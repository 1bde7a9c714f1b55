#include "pipeline/calibrate/resume.h"

#include <algorithm>
#include <charconv>

#include "core/checked.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "formats/container.h"
#include "pipeline/plan/frozen_plan.h"
#include "pipeline/plan/saved_arrays.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

int64_t layer_of(const Reader& hidden) {
  const auto text = hidden.get_or<std::string>("layer", "");
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size() || layer < 0)
    refuse_saved(hidden.path(), fmt::format("\"{}\" is no number of a layer", text));
  return layer;
}

ordered_json outcome_json(const SiteOutcome& o) {
  return {o.name, o.method, o.error_rtn, o.error, o.alpha, o.damping, o.asymmetric_strength, o.dead, o.zeros};
}

SiteOutcome outcome_from(const ordered_json& j) {
  return {.name = j.at(0),
          .method = j.at(1),
          .error_rtn = j.at(2),
          .error = j.at(3),
          .alpha = j.at(4),
          .damping = j.at(5),
          .asymmetric_strength = j.at(6),
          .dead = j.at(7),
          .zeros = j.at(8)};
}

std::vector<SiteOutcome> outcomes_of(const Reader& reader) {
  std::vector<SiteOutcome> outcomes;
  try {
    for (const ordered_json& j : parse_ordered_json(reader.get_or<std::string>("outcomes", ""), "outcomes"))
      outcomes.push_back(outcome_from(j));
  } catch (const Error& e) {
    refuse_saved(reader.path(), e.what());
  } catch (const nlohmann::json::exception& e) {
    refuse_saved(reader.path(), fmt::format("the outcomes cannot be read ({})", e.what()));
  }
  return outcomes;
}

constexpr const char* kAbout = "run.json";

}  // namespace

uint64_t state_bytes(const TargetPlan& plan, int64_t tokens, int64_t hidden, bool asymmetric) {
  const auto of_floats = [](int64_t n) { return static_cast<uint64_t>(n) * sizeof(float); };
  uint64_t bytes = of_floats(tokens * hidden) * 2 * (asymmetric ? 2 : 1);
  for (const PlannedMatrix& m : plan.matrices) {
    if (m.site.layer < 0) continue;
    const int64_t out = m.site.out, in = m.site.in;
    if (!m.storage.layout) {
      bytes += of_floats(out * in);
      continue;
    }
    bytes += static_cast<uint64_t>(out * in);
    for (const Level& level : m.storage.scheme.levels)
      bytes +=
          static_cast<uint64_t>(bytes_of(level.stored, (level.block.rows ? ceil_div(out, level.block.rows) : 1) *
                                                           (level.block.cols ? ceil_div(in, level.block.cols) : 1)));
  }
  return bytes;
}

void refuse_other_targets(const fs::path& folder, std::span<const std::string> targets) {
  if (!fs::exists(folder)) return;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!entry.is_directory() || std::find(targets.begin(), targets.end(), name) != targets.end()) continue;
    fail(ErrorKind::usage,
         "{} was left by a calibrated run for {} that was stopped, and this run is {}; ask for the same again, or "
         "remove {}",
         entry.path().string(), name,
         targets.empty() ? std::string("without --calib") : fmt::format("for {}", fmt::join(targets, ", ")),
         entry.path().string());
  }
}

ResumeState::ResumeState(fs::path folder, ordered_json run, bool resume, std::chrono::seconds save_every)
    : folder_(std::move(folder)),
      run_(std::move(run)),
      resuming_(resume && fs::exists(folder_ / kAbout)),
      save_every_(save_every) {
  if (!resuming_) return;
  refuse_other_run(folder_, parse_json_or_discard(read_text(folder_ / kAbout)), run_);
  const fs::path hidden = folder_ / "hidden" / "model.safetensors";
  if (fs::exists(hidden)) last_ = layer_of(*open_saved(hidden));
}

void ResumeState::begin() {
  if (resuming_) return;
  fs::remove_all(folder_);
  fs::create_directories(folder_);
  write_text(folder_ / kAbout, shown_json(run_) + "\n");
}

fs::path ResumeState::block_folder(int64_t layer) const { return folder_ / fmt::format("block-{}", layer); }

void ResumeState::save(int64_t layer, const FinishedBlock& b, std::span<const float> hidden,
                       std::span<const float> full, int64_t width) {
  if (saving_disabled_) return;
  try {
    save_block(layer, b);
    if (std::chrono::steady_clock::now() - saved_ < save_every_) return;
    save_states(layer, hidden, full, width);
    last_ = layer;
    saved_ = std::chrono::steady_clock::now();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::io) throw;
    saving_disabled_ = true;
    warn(fmt::format("{}; the run goes on, and nothing more is saved for --resume, which would begin {}", e.what(),
                     last_ ? fmt::format("after block {}", *last_) : std::string("at the first block")));
  }
}

void ResumeState::save_block(int64_t layer, const FinishedBlock& b) const {
  SavedArrays arrays;
  for (const auto& [name, m] : b.matrices) {
    if (!m.packed) {
      arrays.add(name + ":values", m.values);
      continue;
    }
    arrays.add(name, *m.packed);
  }
  for (const auto& [name, values] : b.replaced) arrays.add(name, values);
  ordered_json outcomes = ordered_json::array();
  for (const SiteOutcome& o : b.outcomes) outcomes.push_back(outcome_json(o));
  arrays.write(block_folder(layer), {{"outcomes", outcomes.dump()}});
}

void ResumeState::save_states(int64_t layer, std::span<const float> hidden, std::span<const float> full,
                              int64_t width) const {
  SavedArrays state;
  state.add("hidden", "F32", {static_cast<int64_t>(hidden.size()) / width, width}, std::as_bytes(hidden));
  if (!full.empty()) state.add("full", "F32", {static_cast<int64_t>(full.size()) / width, width}, std::as_bytes(full));
  state.write(folder_ / "hidden", {{"layer", std::to_string(layer)}});
}

FinishedBlock ResumeState::load_block(int64_t layer, const PlannedMatrices& planned) const {
  const auto reader = open_saved(block_folder(layer) / "model.safetensors");
  FinishedBlock b;
  for (const auto& [name, plan] : planned) {
    if (plan->site.layer != layer) continue;
    ReadyMatrix m{.planned = plan, .packed = std::nullopt};
    if (!plan->storage.layout) {
      const auto size = static_cast<size_t>(plan->site.out * plan->site.in) * sizeof(float);
      saved_bytes(*reader, name + ":values", size);
      m.values = saved_floats(*reader, *reader->find(name + ":values"));
    } else {
      QuantizedMatrix q = allocate(plan->storage.scheme, plan->site.out, plan->site.in);
      load_saved(*reader, name, q);
      m.packed = std::move(q);
    }
    b.matrices.emplace(name, std::move(m));
  }
  for (const StoredTensor& t : reader->tensors())
    if (t.name.find(':') == std::string::npos) b.replaced.emplace(t.name, saved_floats(*reader, t));
  b.outcomes = outcomes_of(*reader);
  for (const SiteOutcome& o : b.outcomes)
    if (!planned.contains(o.name)) refuse_saved(reader->path(), fmt::format("the model has no matrix {}", o.name));
  check_saved(*reader);
  return b;
}

std::vector<float> ResumeState::load_states(const std::string& name) const {
  const auto reader = open_saved(folder_ / "hidden" / "model.safetensors");
  const StoredTensor* t = reader->find(name);
  if (!t) refuse_saved(reader->path(), fmt::format("the {} states are missing", name));
  check_saved(*reader);
  return saved_floats(*reader, *t);
}

}  // namespace kerf
