// Bytes are counted from shapes. Time is measured: calibration on the first block (pipeline/calibrate/pace.h), the rest
// by the rate of a matrix product.
#include "pipeline/runs/estimate.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "core/units.h"
#include "kernels/dense/dense.h"
#include "model/run/blockwise_forward.h"
#include "pipeline/calibrate/calibrated_head.h"
#include "pipeline/calibrate/output_hessians.h"
#include "pipeline/calibrate/resume.h"
#include "pipeline/distill/distill.h"
#include "pipeline/prune/depth.h"
#include "pipeline/prune/structure_pace.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/continuations.h"
#include "pipeline/runs/pruned_source.h"
#include "pipeline/runs/speed_run.h"
#include "prune/slice.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// The program, its tables and a tokenizer.
constexpr uint64_t kProcess = uint64_t{48} << 20;
// Weights per second and thread that rtn reads, searches and writes: bench/RESULTS.md, Q4_0, rounded down.
constexpr double kRtnWeightsPerSecond = 4e8;
// At which a checkpoint in float32 is read, summed up and written, rounded down.
constexpr double kCheckpointBytesPerSecond = 3e8;
// Unpacked panels, codes and packed bytes of each thread.
constexpr uint64_t kPanelsPerThread = uint64_t{16} << 20;

// Floating-point operations per second of products in float32, on all threads.
double product_rate() {
  constexpr int64_t kTokens = 1024, kSize = 1024;
  const std::vector<float> x(kTokens * kSize, 0.5f);
  std::vector<float> y(kTokens * kSize);
  const auto product = [&] { matmul_nt(kTokens, kSize, kSize, x.data(), kSize, x.data(), kSize, y.data(), kSize); };
  product();  // the first makes the code
  const auto begin = std::chrono::steady_clock::now();
  int64_t done = 0;
  double elapsed = 0;
  while (elapsed < 0.1) {
    product();
    ++done;
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return 2.0 * kTokens * kSize * kSize * static_cast<double>(done) / elapsed;
}

// Of the model, the head included.
double products_per_token(const Architecture& a) {
  double weights = static_cast<double>(a.head().out) * static_cast<double>(a.head().in);
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& s : a.block_sites(layer)) weights += static_cast<double>(s.out) * static_cast<double>(s.in);
  return 2 * weights;
}

double products_of_blocks(const Architecture& a) {
  return products_per_token(a) - 2 * static_cast<double>(a.head().out) * static_cast<double>(a.head().in);
}

// What is stored; smaller than the source where that is pruned.
int64_t parameters_of(const TargetPlan& plan) {
  int64_t n = 0;
  for (const PlannedMatrix& m : plan.matrices) n += m.site.out * m.site.in;
  for (const PlannedVector& v : plan.vectors) n += v.size;
  return n;
}

std::string megabytes(uint64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }
uint64_t bytes_of_floats(int64_t n) { return static_cast<uint64_t>(n) * sizeof(float); }

// Beside the activations: what the largest group of sites takes, the batches of windows on their way, and the
// block.
uint64_t calibrated_memory(const Architecture& a, const Method& m, bool asymmetric, const Windows& windows) {
  const bool both = m.plain && m.scaled;
  // Second moments and their factors; while weights are moved, those, a factor and what is lacking, fitted and held
  // out.
  const int64_t tried = 2 + (m.scaled ? 2 : 0);
  const int64_t squares = asymmetric ? 1 + std::max<int64_t>(tried, 4) : tried + (m.held_out ? 1 : 0);
  const int64_t copies = both ? 6 : 4;  // of a group: weights; the values of rtn, of the best and of another attempt
  std::map<std::string, std::pair<int64_t, int64_t>> groups;  // inputs, weights
  int64_t block = 0;                                          // the largest
  uint64_t most = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    groups.clear();
    int64_t weights_of_block = 0;
    for (const Site& s : a.block_sites(layer)) {
      auto& [inputs, weights] = groups[s.fused.empty() ? s.name : s.fused];
      inputs = s.in;
      weights += s.out * s.in;
      weights_of_block += s.out * s.in;
    }
    block = std::max(block, weights_of_block);
    for (const auto& [name, group] : groups)
      most = std::max(most, bytes_of_floats(squares * group.first * group.first + copies * group.second));
  }
  // Of the block: codes, and the matrices that a pass goes on with, for each pass.
  const uint64_t streams = asymmetric ? 2 : 1;
  const uint64_t of_block = static_cast<uint64_t>(block) * (1 + streams * (fast_bf16() ? 2 : 4));
  return most + of_block + streams * bytes_of_floats(tokens_at_once(windows) * (4 * a.hidden() + 4 * a.widest()));
}

BitsPerWeight bits(const TargetPlan& plan, uint64_t bytes, int64_t parameters) {
  double body_bits = 0, body = 0, vocabulary_bits = 0, vocabulary = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    double packed = 0;
    for (const LayoutTensor& part : m.parts) packed += 8.0 * static_cast<double>(part.bytes);
    const auto weights = static_cast<double>(m.site.out * m.site.in);
    (m.site.layer < 0 ? vocabulary_bits : body_bits) += packed;
    (m.site.layer < 0 ? vocabulary : body) += weights;
  }
  return {.all = 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters),
          .body = body_bits / body,
          .embedding = vocabulary_bits / vocabulary};
}

// Finding the blocks that go, and what prune_structure() takes, where it is called.
double search_and_cut(const Architecture& a, const PrunedShape& shape, int64_t tokens, bool correct, double rate,
                      StructurePace& pace) {
  double seconds = 0;
  if (shape.depth > 0) {
    const DepthWork work = depth_work(a.layers(), shape.depth);
    const double blocks = products_of_blocks(a), head = products_per_token(a) - blocks;
    seconds += static_cast<double>(std::min(tokens, kDepthTokens)) * (work.passes * blocks + work.heads * head) / rate;
  }
  return !shape.cuts.empty() || (shape.depth > 0 && correct) ? seconds + pace.seconds(shape, tokens) : seconds;
}

// Both models of the pass with their activations in memory, the moments of the widest inputs; or the sets of blocks
// that are told apart.
uint64_t memory_of_pruning(const Architecture& a, const PrunedShape& shape, bool correct, const Windows& windows) {
  uint64_t search = 0, pass = 0;
  if (shape.depth > 0) {
    const auto states = a.layers() + 1 + static_cast<int64_t>(depth_work(a.layers(), shape.depth).heads);
    search = bytes_of_floats(states * std::min(windows.tokens(), kDepthTokens) * a.hidden());
  }
  if (!shape.cuts.empty() || (shape.depth > 0 && correct)) {
    const Method method = parse_method("gptq", true);
    const int64_t models = correct ? 2 : 1;
    pass = calibrated_memory(a, method, correct, windows) +
           bytes_of_floats(models * windows.tokens() * (2 * a.hidden() + a.widest()));
  }
  return kProcess + std::max(search, pass);
}

// Every token of a text is a step that reads all weights; a block and the head are tried.
double seconds_of_text(const Artifact& source) {
  const Architecture& a = source.architecture;
  const auto weights = weights_of(source, VerifyMode::float32);
  const auto step = [&](const std::vector<Site>& sites) {
    int64_t widest = 0;
    for (const Site& s : sites) widest = std::max({widest, s.in, s.out});
    const std::vector<float> x(static_cast<size_t>(kPrompts * widest), 0.5F);
    std::vector<float> y(x.size());
    const auto begin = std::chrono::steady_clock::now();
    for (const Site& s : sites) weights->linear(s)->apply(x.data(), kPrompts, 0, s.out, y.data(), s.out);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto block_sites = a.block_sites(0);
  const std::vector<Site> block(block_sites.begin(), block_sites.end()), head = {a.head()};
  step(block);
  const double seconds = step(block) * static_cast<double>(a.layers()) + step(head);
  return kContinuedTokens * seconds;
}

void check_limit(const RunEstimate& e, uint64_t memory_limit) {
  if (memory_limit == 0 || e.memory <= memory_limit) return;
  fail(ErrorKind::usage,
       "--memory {} is too little: beside the activations, which can go to a file, this run needs about {}; give at "
       "least that, or a method that needs less (rtn less than gptq, gptq less than auto)",
       megabytes(memory_limit), megabytes(e.memory));
}

}  // namespace

RunEstimate estimate(const Artifact& source, std::span<const TargetPlan* const> plans, const Method& method,
                     bool asymmetric, bool kl_hessian, const Windows* windows, const fs::path& out,
                     uint64_t memory_limit) {
  RunEstimate e{.parameters = plans.empty() ? source.parameters() : parameters_of(*plans[0])};
  for (const TargetPlan* plan : plans) {
    const uint64_t bytes = file_bytes(*plan);
    e.targets.push_back({.target = plan->choice.text(), .bytes = bytes, .bpw = bits(*plan, bytes, e.parameters)});
    e.disk += bytes;
  }
  e.asked_for_disk = !out.empty();
  if (e.asked_for_disk) e.disk_free = free_bytes(out);
  e.memory = kProcess + kPanelsPerThread * static_cast<uint64_t>(threads());
  const auto copies = static_cast<double>(plans.size());
  e.seconds = copies * static_cast<double>(e.parameters) / (kRtnWeightsPerSecond * threads());
  check_limit(e, memory_limit);
  if (!windows) return e;
  const int64_t tokens = windows->tokens();
  const Architecture& a = source.architecture;
  // Hidden states of each target, and what waits for all windows: a norm's output, heads or the gated part; of targets
  // one after the other, or, beside the model in full precision, of all.
  const uint64_t streams = plans.size() + (asymmetric ? 1 : 0), side_by_side = asymmetric ? streams : 1;
  const uint64_t activations = bytes_of_floats(tokens * a.hidden()) * streams +
                               bytes_of_floats(tokens * (a.hidden() + a.widest())) * side_by_side +
                               (kl_hessian ? bytes_of_floats(output_hessian_floats(a, tokens)) : 0);
  e.memory += calibrated_memory(a, method, asymmetric, *windows);
  if (kl_hessian) e.memory += bytes_of_floats(output_moments_in_memory(a));
  check_limit(e, memory_limit);
  e.activations = memory_limit == 0 ? activations : std::min(activations, memory_limit - e.memory);
  e.scratch = activations - e.activations;
  e.memory += e.activations;
  e.disk += e.scratch;
  for (const TargetPlan* plan : plans) e.disk += state_bytes(*plan, tokens, a.hidden(), asymmetric);
  return e;
}

void measure_time(RunEstimate& e, const RunToMeasure& run) {
  e.rate = product_rate();
  const Architecture &whole = run.source.architecture, &packed = run.smaller ? *run.smaller : whole;
  if (run.calibration) {
    std::vector<PackJob> jobs;
    for (const TargetPlan* plan : run.plans) jobs.push_back({plan, nullptr});
    Scratch scratch;
    CalibrationTime time = measure_calibration({.architecture = whole,
                                                .source = *run.source.weights,
                                                .method = run.method,
                                                .options = run.options,
                                                .pruning = run.pruning,
                                                .asymmetric = run.asymmetric,
                                                .kl_hessian = run.kl_hessian,
                                                .windows = *run.calibration,
                                                .targets = jobs,
                                                .states = {},
                                                .scratch = scratch});
    const double left = products_of_blocks(packed) / products_of_blocks(whole);
    for (double* part : {&time.gradients, &time.passes, &time.statistics, &time.choosing}) *part *= left;
    e.calibration = time;
    e.seconds += time.total();
  }
  if (run.evaluated > 0) {
    const double passes = static_cast<double>(run.plans.size()) + (run.smaller ? 1 : 0);
    e.evaluation =
        static_cast<double>(run.evaluated) * (products_per_token(whole) + passes * products_per_token(packed)) / e.rate;
    e.seconds += e.evaluation;
  }
}

void add_pruning(RunEstimate& e, const PruningToMeasure& p) {
  const Architecture& a = p.source.architecture;
  const uint64_t checkpoint = bytes_of_floats(parameters_of(p.smaller));
  e.disk += checkpoint;
  e.pruning += static_cast<double>(checkpoint) / kCheckpointBytesPerSecond;
  if (p.calibration) {
    StructurePace pace(a, *p.source.weights, p.correct, p.damping, *p.calibration);
    e.pruning += search_and_cut(a, p.shape, p.calibration->tokens(), p.correct, e.rate, pace);
    const TrialTokens tokens = p.trials.empty() ? TrialTokens{} : trial_tokens(*p.calibration);
    for (const PrunedShape& shape : p.trials)
      e.pruning += search_and_cut(a, shape, tokens.fit, p.correct, e.rate, pace) +
                   2 * static_cast<double>(tokens.test) * products_per_token(a) / e.rate;
    e.memory = std::max(e.memory, memory_of_pruning(a, p.shape, p.correct, *p.calibration));
  }
  e.seconds += e.pruning;
}

namespace {

// Of the weights alone: values and the products' copy of them; what stands behind codes and scales that are trained;
// of plain numbers that are trained value, gradient and two moments.
double memory_of_student(const Architecture& a, const TargetPlan& plan, double of_packed, bool full) {
  double bytes = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    const double weights = static_cast<double>(m.site.out) * static_cast<double>(m.site.in);
    bytes += weights * (m.storage.layout ? of_packed : full ? 18 : 6);
  }
  return bytes + 2 * static_cast<double>(a.head().out) * static_cast<double>(a.head().in);
}

// Second moments of the inputs, and the subspaces of errors (solver/low_rank.h).
double products_of_start(const Architecture& a, int64_t rank, double tokens) {
  constexpr double kIterations = 13, kMore = 8;
  double products = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer)) {
      const auto in = static_cast<double>(site.in), out = static_cast<double>(site.out);
      products += in * in * tokens / 2 + kIterations * (static_cast<double>(rank) + kMore) * in * (in + 2 * out);
    }
  return products;
}

}  // namespace

void add_training(RunEstimate& e, const TrainingToMeasure& t) {
  const Architecture& a = t.packed;
  const std::vector<DistillPhase> phases = parse_distill(t.options.phases);
  const double of_blocks = products_of_blocks(a), of_head = products_per_token(a) - of_blocks;
  const double per_step = static_cast<double>(std::min(t.options.batch, t.windows) * t.length);
  double products = 4 * products_per_token(t.source.architecture) * static_cast<double>(t.own_tokens);
  double seconds = 0;
  bool full = false;
  double of_packed = 0;  // bytes of memory for a packed weight
  for (size_t i = 0; i < phases.size(); ++i) {
    const bool lora = phases[i] == DistillPhase::lora;
    of_packed = std::max(of_packed, phases[i] == DistillPhase::scales ? 7.0 : lora ? 12.0 : 18.0);
    full = full || phases[i] == DistillPhase::full;
    const TrainingOptions o = training_options(t.options, i, t.windows - training_held_out(t.windows));
    const double tokens = static_cast<double>(o.steps) * per_step;
    const double all = static_cast<double>(t.windows * t.length);
    if (phases[i] == DistillPhase::blocks)
      products += 3 * of_blocks * tokens + 2 * of_blocks * all;
    else if (t.options.time.empty())
      products += (4 * of_blocks + 4 * of_head) * tokens + of_blocks * all;
    else
      seconds = parse_duration(t.options.time);
    if (lora) products += 3 * of_blocks * all + products_of_start(a, t.options.rank, all);
  }
  double memory = 0;
  for (const TargetPlan* plan : t.plans) memory = std::max(memory, memory_of_student(a, *plan, of_packed, full));
  constexpr double kHeadTokens = 256;  // whose logits, the teacher's and the gradients are there at a time
  memory += 12 * kHeadTokens * static_cast<double>(a.vocab()) +
            4 * static_cast<double>(a.hidden()) *
                (static_cast<double>(t.windows * t.length) + per_step * (static_cast<double>(a.layers()) + 40));
  if (adapts(t.options)) {
    for (size_t i = 0; i < e.targets.size(); ++i) {
      e.targets[i].adapter = adapter_bytes(*t.plans[i], a, t.options.rank);
      e.disk += e.targets[i].adapter;
    }
  }
  e.training = static_cast<double>(t.plans.size()) * (products / e.rate + seconds);
  e.seconds += e.training;
  e.memory = std::max(e.memory, kProcess + static_cast<uint64_t>(memory));
}

void add_texts(RunEstimate& e, const Artifact& source, const Architecture& packed, int64_t targets) {
  const double of_source = seconds_of_text(source),
               left = products_per_token(packed) / products_per_token(source.architecture);
  e.texts = of_source * (1 + left * static_cast<double>(targets));
  e.seconds += e.texts;
}

void add_shares(RunEstimate& e, double products) {
  e.pruning += products / e.rate;
  e.seconds += products / e.rate;
}

void add_speeds(RunEstimate& e, const Architecture& a, int64_t models) {
  const SpeedLimits limits = limits_of_report(a);
  const double prefill = std::max(limits.seconds, 2 * limits.passed / e.rate);
  e.speeds = kRoundsOfReport * static_cast<double>(models) * (prefill + limits.seconds);
  e.seconds += e.speeds;
  e.memory = std::max(e.memory, kProcess + speed_memory(a, limits));
}

void leave_schemes_open(RunEstimate& e, uint64_t bytes, const AllocationWork& work) {
  TargetEstimate& t = e.targets.at(0);
  e.disk = e.disk - t.bytes + bytes;
  t.bytes = bytes;
  t.bpw = {.all = 8.0 * static_cast<double>(bytes) / static_cast<double>(e.parameters)};
  t.open = true;
  t.target = t.target.substr(0, t.target.find(':'));
  e.choice = {.matrices = work.matrices,
              .tokens = work.tokens,
              .passes = work.passes,
              .seconds = work.products / e.rate + work.rounding};
  e.seconds += e.choice->seconds;
  e.memory = std::max(e.memory, kProcess + kPanelsPerThread * static_cast<uint64_t>(threads()) + work.memory);
}

std::optional<uint64_t> free_bytes(const fs::path& path) {
  std::error_code error;
  fs::path there = fs::absolute(path, error);
  while (!error && !fs::exists(there) && there.has_relative_path()) there = there.parent_path();
  const fs::space_info space = fs::space(there, error);
  if (error || space.capacity == 0) return std::nullopt;  // on an error all of them are 2^64 - 1
  return space.available;
}

nlohmann::ordered_json to_json(const RunEstimate& e) {
  nlohmann::ordered_json j = {{"parameters", e.parameters}, {"targets", nlohmann::ordered_json::array()}};
  for (const TargetEstimate& t : e.targets) {
    nlohmann::ordered_json bpw = {{"all", t.bpw.all}, {"body", t.bpw.body}, {"embedding", t.bpw.embedding}};
    if (t.open) bpw["body"] = bpw["embedding"] = nullptr;
    j["targets"].push_back({{"target", t.target}, {"bytes", t.bytes}, {"bpw", std::move(bpw)}});
    if (t.adapter > 0) j["targets"].back()["adapter_bytes"] = t.adapter;
    if (t.open) j["targets"].back()["open"] = "schemes";
  }
  j["disk"] = {{"needed", e.disk}, {"free", nullptr}};
  if (e.disk_free) j["disk"]["free"] = *e.disk_free;
  j["memory"] = e.memory;
  j["scratch"] = e.scratch;
  j["seconds"] = e.seconds;
  if (e.calibration)
    j["calibration"] = {{"gradients", e.calibration->gradients},
                        {"passes", e.calibration->passes},
                        {"statistics", e.calibration->statistics},
                        {"choosing", e.calibration->choosing}};
  if (e.evaluation > 0) j["evaluation"] = e.evaluation;
  if (!e.stays.empty() || e.pruning > 0) j["pruning"] = {{"stays", e.stays}, {"seconds", e.pruning}};
  if (e.training > 0) j["training"] = {{"seconds", e.training}};
  if (e.texts > 0) j["texts"] = {{"seconds", e.texts}};
  if (e.speeds > 0) j["speeds"] = {{"seconds", e.speeds}};
  if (e.choice)
    j["scheme_choice"] = {{"matrices", e.choice->matrices},
                          {"tokens", e.choice->tokens},
                          {"passes", e.choice->passes},
                          {"seconds", e.choice->seconds}};
  return j;
}

std::string to_table(const RunEstimate& e) {
  std::string text;
  for (const std::string& line : e.stays) text += fmt::format("stays   {}\n", line);
  for (const TargetEstimate& t : e.targets) {
    text += fmt::format("{:<28} {:>12}  ", t.target, grouped(fmt::format("{}", t.bytes)));
    text += t.open ? fmt::format("bytes at most; {:.3f} bits per weight\n", t.bpw.all)
                   : fmt::format("bytes; {:.3f} bits per weight (body {:.3f}, embedding {:.3f})\n", t.bpw.all,
                                 t.bpw.body, t.bpw.embedding);
    if (t.adapter > 0)
      text +=
          fmt::format("{:<28} {:>12}  bytes of an adapter beside them\n", "", grouped(fmt::format("{}", t.adapter)));
  }
  if (e.choice)
    text += fmt::format(
        "schemes are left open: the run chooses them by measuring {} matrices, about {:.0f} forward passes over {} "
        "tokens, some {}\n",
        e.choice->matrices, e.choice->passes, e.choice->tokens, duration_text(e.choice->seconds));
  text += fmt::format("disk    {}", megabytes(e.disk));
  if (e.asked_for_disk)
    text += fmt::format(" of {} free", e.disk_free ? megabytes(*e.disk_free) : std::string("an unknown size"));
  text += "\n";
  text += fmt::format("memory  about {} beside the mapped files{}\n", megabytes(e.memory),
                      e.scratch ? fmt::format(", and {} in a file", megabytes(e.scratch)) : "");
  text += fmt::format("time    about {} on {} threads", duration_text(e.seconds), threads());
  std::vector<std::string> parts;
  const auto part = [&](double seconds, std::string_view of) {
    if (seconds > 0) parts.push_back(fmt::format("{} {}", duration_text(seconds), of));
  };
  if (e.choice) part(e.choice->seconds, "choosing schemes");
  if (e.calibration) {
    part(e.calibration->gradients, "gradients");
    part(e.calibration->passes, "forward passes");
    part(e.calibration->statistics, "statistics of their activations");
    part(e.calibration->choosing, "choosing codes");
  }
  part(e.pruning, "pruning");
  part(e.training, "training");
  part(e.evaluation, "evaluation");
  part(e.texts, "texts that the models write");
  part(e.speeds, "speeds");
  if (!parts.empty()) text += fmt::format(": {}", fmt::join(parts, ", "));
  return text + "\n";
}

}  // namespace kerf
