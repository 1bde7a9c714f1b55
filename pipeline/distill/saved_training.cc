#include "pipeline/distill/saved_training.h"

#include <array>

#include "core/error.h"
#include "core/json.h"
#include "pipeline/plan/saved_arrays.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

HeldOut held_out_from(const ordered_json& j) { return {.kl = j.at("kl"), .error = j.at("stderr")}; }

constexpr std::array kEnds = {"all steps were made", "the held-out KL no longer fell", "the loss diverged"};

TrainingCurve curve_from(const ordered_json& j) {
  TrainingCurve c{.before = held_out_from(j.at("held_out_before")),
                  .after = held_out_from(j.at("held_out_after")),
                  .checks = {},
                  .best_step = j.at("best_step")};
  for (const ordered_json& row : j.at("curve"))
    c.checks.push_back({.step = row.at("step"), .loss = row.at("loss"), .held_out = held_out_from(row.at("held_out"))});
  return c;
}

ordered_json parsed(const Reader& reader, const char* key) {
  try {
    return parse_ordered_json(reader.get_or<std::string>(key, ""), key);
  } catch (const Error& e) {
    refuse_saved(reader.path(), e.what());
  }
}

std::vector<float> floats(const Reader& reader, const std::string& name) {
  const StoredTensor* t = reader.find(name);
  if (!t) refuse_saved(reader.path(), fmt::format("{} is missing", name));
  return saved_floats(reader, *t);
}

}  // namespace

ordered_json to_json(const HeldOut& h) { return {{"kl", h.kl}, {"stderr", h.error}}; }

ordered_json to_json(const TrainingCurve& c) {
  ordered_json j = {{"held_out_before", to_json(c.before)},
                    {"held_out_after", to_json(c.after)},
                    {"best_step", c.best_step},
                    {"end", kEnds.at(static_cast<size_t>(c.end))}};
  j["curve"] = ordered_json::array();
  for (const TrainingCheck& row : c.checks)
    j["curve"].push_back({{"step", row.step}, {"loss", row.loss}, {"held_out", to_json(row.held_out)}});
  return j;
}

std::optional<ordered_json> SavedTraining::load_phase(size_t phase, PackedWeights& weights) const {
  const fs::path file = folder_ / fmt::format("phase-{}", phase) / "model.safetensors";
  if (!fs::exists(file)) return std::nullopt;
  const auto reader = open_saved(file);
  check_saved(*reader);
  for (auto& [name, q] : weights.packed)
    if (reader->find(name + ":codes")) load_saved(*reader, name, q);
  const auto name_before = [](const StoredTensor& t, std::string_view kind) {
    return t.name.ends_with(kind) ? t.name.substr(0, t.name.size() - kind.size()) : "";
  };
  for (const StoredTensor& t : reader->tensors()) {
    if (const std::string name = name_before(t, ":values"); !name.empty())
      weights.plain[name] = saved_floats(*reader, t);
    const std::string name = name_before(t, ":a");
    if (name.empty()) continue;
    const StoredTensor* b = reader->find(name + ":b");
    if (!b || t.shape.size() != 2 || b->shape.size() != 2 || b->shape[1] != t.shape[0])
      refuse_saved(file, fmt::format("the adapter of {} is not whole", name));
    weights.adapters[name] = {.out = b->shape[0],
                              .in = t.shape[1],
                              .rank = t.shape[0],
                              .b = saved_floats(*reader, *b),
                              .a = saved_floats(*reader, t)};
  }
  return parsed(*reader, "report");
}

void SavedTraining::save_phase(size_t phase, const PackedWeights& weights, const ordered_json& report) const {
  SavedArrays arrays;
  for (const auto& [name, q] : weights.packed) arrays.add(name, q);
  for (const auto& [name, values] : weights.plain) arrays.add(name + ":values", values);
  for (const auto& [name, adapter] : weights.adapters) {
    arrays.add(name + ":a", "F32", {adapter.rank, adapter.in}, std::as_bytes(std::span(adapter.a)));
    arrays.add(name + ":b", "F32", {adapter.out, adapter.rank}, std::as_bytes(std::span(adapter.b)));
  }
  arrays.write(folder_ / fmt::format("phase-{}", phase), {{"report", report.dump()}});
  fs::remove_all(folder_ / "steps");
}

std::optional<SavedTraining::Steps> SavedTraining::load_steps(size_t phase) const {
  const fs::path file = folder_ / "steps" / "model.safetensors";
  if (!fs::exists(file)) return std::nullopt;
  const auto reader = open_saved(file);
  check_saved(*reader);
  const ordered_json j = parsed(*reader, "state");
  try {
    if (j.at("phase").get<size_t>() != phase) return std::nullopt;
    Steps s{.phase = phase, .steps = j.at("steps"), .state = {}};
    s.state.optimizer = {.values = floats(*reader, "values"),
                         .first = floats(*reader, "first"),
                         .second = floats(*reader, "second"),
                         .steps = j.at("done")};
    s.state.best = floats(*reader, "best");
    s.state.curve = curve_from(j.at("curve"));
    s.state.loss_since_check = j.at("loss_since_check");
    s.state.losses_since_check = j.at("losses_since_check");
    s.state.bad_checks = j.at("bad_checks");
    return s;
  } catch (const nlohmann::json::exception& e) {
    refuse_saved(file, fmt::format("the state cannot be read ({})", e.what()));
  }
}

void SavedTraining::save_steps(const Steps& s) const {
  const ordered_json state = {{"phase", s.phase},
                              {"steps", s.steps},
                              {"done", s.state.optimizer.steps},
                              {"curve", to_json(s.state.curve)},
                              {"loss_since_check", s.state.loss_since_check},
                              {"losses_since_check", s.state.losses_since_check},
                              {"bad_checks", s.state.bad_checks}};
  SavedArrays arrays;
  arrays.add("values", s.state.optimizer.values);
  arrays.add("first", s.state.optimizer.first);
  arrays.add("second", s.state.optimizer.second);
  arrays.add("best", s.state.best);
  arrays.write(folder_ / "steps", {{"state", state.dump()}});
}

}  // namespace kerf
