// States are small safetensors of our own, written whole and read back only when their checksum agrees.
#include "pipeline/calibrate/resume.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/sha256.h"
#include "formats/container.h"
#include "pipeline/plan/frozen_plan.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kChecksum = "sha256";

// Of all that a file says, wherever in it that lies; the checksum itself is left out.
std::string checksum(std::span<const StoredTensor> tensors, const Metadata& metadata) {
  Sha256 sum;
  for (const auto& [key, value] : metadata)
    if (const auto* text = std::get_if<std::string>(&value); text && key != kChecksum)
      sum.update(as_bytes(shown_json(ordered_json({key, *text}), -1)));
  std::map<std::string_view, const StoredTensor*> by_name;
  for (const StoredTensor& t : tensors) by_name.emplace(t.name, &t);
  for (const auto& [name, t] : by_name) {
    sum.update(as_bytes(ordered_json({t->name, t->type, t->shape}).dump()));
    sum.update(t->bytes);
  }
  return sum.finish();
}

// Collects named arrays and writes them as one safetensors file with a checksum.
class Arrays {
 public:
  void add(std::string name, std::string_view type, std::vector<int64_t> shape, std::span<const std::byte> bytes) {
    tensors_.push_back({std::move(name), std::string(type), std::move(shape), bytes});
  }
  void add(std::string name, std::span<const float> values) {
    add(std::move(name), "F32", {static_cast<int64_t>(values.size())}, std::as_bytes(values));
  }
  void write(const fs::path& folder, Metadata metadata) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail(ErrorKind::io, "cannot create the folder {}: {}", folder.string(), error.message());
    FilePlan plan{.metadata = std::move(metadata)};
    plan.metadata.emplace_back(kChecksum, checksum(tensors_, plan.metadata));
    for (const StoredTensor& t : tensors_) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
    const auto writer = find_container("safetensors").create(folder, plan);
    for (size_t i = 0; i < tensors_.size(); ++i) writer->write(i, 0, tensors_[i].bytes);
    writer->commit();
  }

 private:
  std::vector<StoredTensor> tensors_;
};

[[noreturn]] void fail_with_restart_hint(const fs::path& file, std::string_view why) {
  fail(ErrorKind::bad_input, "{}; remove {} and begin anew", why, file.parent_path().parent_path().string());
}

// The state lies beside the output for days, and anybody may have touched it.
[[noreturn]] void damaged(const fs::path& file, std::string_view what) {
  fail_with_restart_hint(file, fmt::format("{}: {}", file.string(), what));
}

std::unique_ptr<Reader> open_state(const fs::path& file) {
  try {
    return open_container(file);
  } catch (const Error& e) {
    fail_with_restart_hint(file, e.what());
  }
}

void check_sum(const Reader& reader) {
  if (reader.get_or<std::string>(kChecksum, "") != checksum(reader.tensors(), reader.metadata()))
    damaged(reader.path(), "the content is not what was saved: its SHA-256 is another");
}

int64_t layer_of(const Reader& hidden) {
  const auto text = hidden.get_or<std::string>("layer", "");
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size() || layer < 0)
    damaged(hidden.path(), fmt::format("\"{}\" is no number of a layer", text));
  return layer;
}

std::span<const std::byte> bytes_of_tensor(const Reader& reader, const std::string& name, size_t size) {
  const StoredTensor* t = reader.find(name);
  if (!t || t->bytes.size() != size) damaged(reader.path(), fmt::format("{} of {} bytes is missing", name, size));
  return t->bytes;
}

std::vector<float> floats_of(const Reader& reader, const StoredTensor& t) {
  if (t.type != "F32") damaged(reader.path(), fmt::format("{} is stored as {}, not as F32", t.name, t.type));
  std::vector<float> values(t.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), t.bytes.data(), values.size() * sizeof(float));
  return values;
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
    damaged(reader.path(), e.what());
  } catch (const nlohmann::json::exception& e) {
    damaged(reader.path(), fmt::format("the outcomes cannot be read ({})", e.what()));
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
  if (fs::exists(hidden)) last_ = layer_of(*open_state(hidden));
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
  Arrays arrays;
  for (const auto& [name, m] : b.matrices) {
    if (!m.packed) {
      arrays.add(name + ":values", m.values);
      continue;
    }
    arrays.add(name + ":codes", "U8", {static_cast<int64_t>(m.packed->codes.size())},
               std::as_bytes(std::span(m.packed->codes)));
    for (size_t i = 0; i < m.packed->params.size(); ++i) {
      const std::vector<std::byte>& bytes = m.packed->params[i].bytes;
      arrays.add(fmt::format("{}:{}", name, i), "U8", {static_cast<int64_t>(bytes.size())}, bytes);
    }
  }
  for (const auto& [name, values] : b.replaced) arrays.add(name, values);
  ordered_json outcomes = ordered_json::array();
  for (const SiteOutcome& o : b.outcomes) outcomes.push_back(outcome_json(o));
  arrays.write(block_folder(layer), {{"outcomes", outcomes.dump()}});
}

void ResumeState::save_states(int64_t layer, std::span<const float> hidden, std::span<const float> full,
                              int64_t width) const {
  Arrays state;
  state.add("hidden", "F32", {static_cast<int64_t>(hidden.size()) / width, width}, std::as_bytes(hidden));
  if (!full.empty()) state.add("full", "F32", {static_cast<int64_t>(full.size()) / width, width}, std::as_bytes(full));
  state.write(folder_ / "hidden", {{"layer", std::to_string(layer)}});
}

FinishedBlock ResumeState::load_block(int64_t layer, const PlannedMatrices& planned) const {
  const auto reader = open_state(block_folder(layer) / "model.safetensors");
  FinishedBlock b;
  for (const auto& [name, plan] : planned) {
    if (plan->site.layer != layer) continue;
    ReadyMatrix m{.planned = plan, .packed = std::nullopt};
    if (!plan->storage.layout) {
      const auto size = static_cast<size_t>(plan->site.out * plan->site.in) * sizeof(float);
      bytes_of_tensor(*reader, name + ":values", size);
      m.values = floats_of(*reader, *reader->find(name + ":values"));
    } else {
      QuantizedMatrix q = allocate(plan->storage.scheme, plan->site.out, plan->site.in);
      const auto codes = bytes_of_tensor(*reader, name + ":codes", q.codes.size());
      std::memcpy(q.codes.data(), codes.data(), codes.size());
      if (!q.codes.empty() && *std::max_element(q.codes.begin(), q.codes.end()) >= 1 << q.scheme.bits)
        damaged(reader->path(), fmt::format("{} holds codes of more than {} bits", name, q.scheme.bits));
      for (size_t i = 0; i < q.params.size(); ++i) {
        const auto bytes = bytes_of_tensor(*reader, fmt::format("{}:{}", name, i), q.params[i].bytes.size());
        q.params[i].bytes.assign(bytes.begin(), bytes.end());
      }
      m.packed = std::move(q);
    }
    b.matrices.emplace(name, std::move(m));
  }
  for (const StoredTensor& t : reader->tensors())
    if (t.name.find(':') == std::string::npos) b.replaced.emplace(t.name, floats_of(*reader, t));
  b.outcomes = outcomes_of(*reader);
  for (const SiteOutcome& o : b.outcomes)
    if (!planned.contains(o.name)) damaged(reader->path(), fmt::format("the model has no matrix {}", o.name));
  check_sum(*reader);
  return b;
}

std::vector<float> ResumeState::load_states(const std::string& name) const {
  const auto reader = open_state(folder_ / "hidden" / "model.safetensors");
  const StoredTensor* t = reader->find(name);
  if (!t) damaged(reader->path(), fmt::format("the {} states are missing", name));
  check_sum(*reader);
  return floats_of(*reader, *t);
}

}  // namespace kerf
