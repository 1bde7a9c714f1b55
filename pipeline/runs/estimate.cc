// Counted from shapes. Products of a calibrated run: per token each matrix once, per input its second moments (the
// upper triangle of n x n), per matrix the passes of error feedback over out x in x in. Asymmetric calibration: per
// token each matrix once more and another n x n, per matrix a product with that and the solution of two triangles. A
// head whose codes are chosen too counts as a matrix without its forward pass.
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
#include "pipeline/calibrate/resume.h"
#include "pipeline/repository/repository.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

// The program, its tables and a tokenizer.
constexpr uint64_t kProcess = uint64_t{48} << 20;
// Weights per second and thread that rtn reads, searches and writes: bench/RESULTS.md, Q4_0, rounded down.
constexpr double kRtnWeightsPerSecond = 4e8;
// out * in^2 multiplications of one matrix: errors of rounding, of the result and of the whole, half each (a triangle).
constexpr double kErrorPasses = 1.5;
// Unpacked panels, codes and packed bytes of each thread.
constexpr uint64_t kPanelsPerThread = uint64_t{16} << 20;

double product_rate() {
  constexpr int64_t kTokens = 1024, kSize = 1024;
  const std::vector<float> x(kTokens * kSize, 0.5f);
  const std::vector<uint16_t> half(kTokens * kSize, 0x3f00);
  std::vector<float> y(kTokens * kSize);
  const auto product = [&] {
    if (fast_bf16())
      matmul_nt_bf16(kTokens, kSize, kSize, x.data(), kSize, half.data(), y.data(), kSize);
    else
      matmul_nt(kTokens, kSize, kSize, x.data(), kSize, x.data(), kSize, y.data(), kSize);
  };
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

// Multiplications of a matrix with one as wide, `passes` times. Error feedback runs in float32, at about half the rate
// of bf16 where that is faster.
double by_square(const Site& s, double passes) {
  const auto out = static_cast<double>(s.out), in = static_cast<double>(s.in);
  return 2 * out * in * in * passes * (fast_bf16() ? 2 : 1);
}

bool feeds_back(const Method& m) {
  return std::any_of(m.quantizers.begin(), m.quantizers.end(), [](const Quantizer* q) { return q->needs_hessian(); });
}

double head_products(const Architecture& a, const Method& m, const QuantizerOptions& o, int64_t tokens) {
  const auto in = static_cast<double>(a.hidden());
  return static_cast<double>(tokens) * in * in +
         by_square(a.head(), kErrorPasses + (feeds_back(m) ? 1.0 + o.refine : 0));
}

double product_count(const Architecture& a, const Method& m, const QuantizerOptions& o, bool asymmetric,
                     int64_t tokens) {
  const bool feedback = feeds_back(m);
  const double tries = (m.plain ? 1 : 0) + (m.scaled ? 1 : 0);
  double count = 0;
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    std::string last;
    for (const Site& s : a.block_sites(layer)) {
      const auto out = static_cast<double>(s.out), in = static_cast<double>(s.in), t = static_cast<double>(tokens);
      count += (asymmetric ? 4 : 2) * t * out * in;
      if (s.fused.empty() || s.fused != last) count += (asymmetric ? 3 : 1) * t * in * in;
      last = s.fused;
      const double passes = kErrorPasses + (asymmetric ? 3 : 0) + (feedback ? tries * (1.0 + o.refine) : 0);
      count += by_square(s, passes);
    }
  }
  return count;
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

void check_limit(const RunEstimate& e, uint64_t memory_limit) {
  if (memory_limit == 0 || e.memory <= memory_limit) return;
  fail(ErrorKind::usage,
       "--memory {} is too little: beside the activations, which can go to a file, this run needs about {}; give at "
       "least that, or a method that needs less (rtn less than gptq, gptq less than auto)",
       megabytes(memory_limit), megabytes(e.memory));
}

}  // namespace

RunEstimate estimate(const Artifact& source, std::span<const TargetPlan* const> plans, const Method& method,
                     const QuantizerOptions& options, bool asymmetric, const Windows* windows, const fs::path& out,
                     uint64_t memory_limit) {
  RunEstimate e{.parameters = source.parameters()};
  for (const TargetPlan* plan : plans) {
    const uint64_t bytes = file_bytes(*plan);
    e.targets.push_back({plan->choice.text(), bytes, bits(*plan, bytes, e.parameters)});
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
                               bytes_of_floats(tokens * (a.hidden() + a.widest())) * side_by_side;
  e.memory += calibrated_memory(a, method, asymmetric, *windows);
  check_limit(e, memory_limit);
  e.activations = memory_limit == 0 ? activations : std::min(activations, memory_limit - e.memory);
  e.scratch = activations - e.activations;
  e.memory += e.activations;
  e.disk += e.scratch;
  for (const TargetPlan* plan : plans) e.disk += state_bytes(*plan, tokens, a.hidden(), asymmetric);
  e.products = copies * product_count(a, method, options, asymmetric, tokens);
  for (const TargetPlan* plan : plans)
    for (const PlannedMatrix& m : plan->matrices)
      if (is_calibrated_head(a, m)) e.products += head_products(a, method, options, tokens);
  e.rate = product_rate();
  e.seconds += e.products / e.rate;
  return e;
}

void leave_schemes_open(RunEstimate& e, uint64_t bytes, const AllocationWork& work) {
  TargetEstimate& t = e.targets.at(0);
  e.disk = e.disk - t.bytes + bytes;
  t.bytes = bytes;
  t.bpw = {.all = 8.0 * static_cast<double>(bytes) / static_cast<double>(e.parameters)};
  t.open = true;
  t.target = t.target.substr(0, t.target.find(':'));
  if (e.rate == 0) e.rate = product_rate();
  // In float32, at about half the rate of bf16 where that is faster.
  const double products = work.products * (fast_bf16() ? 2 : 1);
  e.choice = {.matrices = work.matrices,
              .tokens = work.tokens,
              .passes = work.passes,
              .seconds = products / e.rate + work.rounding};
  e.products += products;
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
    if (t.open) j["targets"].back()["open"] = "schemes";
  }
  j["disk"] = {{"needed", e.disk}, {"free", nullptr}};
  if (e.disk_free) j["disk"]["free"] = *e.disk_free;
  j["memory"] = e.memory;
  j["scratch"] = e.scratch;
  j["products"] = e.products;
  j["seconds"] = e.seconds;
  if (e.choice)
    j["scheme_choice"] = {{"matrices", e.choice->matrices},
                          {"tokens", e.choice->tokens},
                          {"passes", e.choice->passes},
                          {"seconds", e.choice->seconds}};
  return j;
}

std::string to_table(const RunEstimate& e) {
  std::string text;
  for (const TargetEstimate& t : e.targets) {
    text += fmt::format("{:<28} {:>12}  ", t.target, grouped(fmt::format("{}", t.bytes)));
    text += t.open ? fmt::format("bytes at most; {:.3f} bits per weight\n", t.bpw.all)
                   : fmt::format("bytes; {:.3f} bits per weight (body {:.3f}, embedding {:.3f})\n", t.bpw.all,
                                 t.bpw.body, t.bpw.embedding);
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
  text += fmt::format("time    about {} on {} threads, without evaluation", duration_text(e.seconds), threads());
  if (e.products > 0)
    text += fmt::format(" ({:.3g} floating-point operations at {:.3g} per second)", e.products, e.rate);
  return text + "\n";
}

}  // namespace kerf
