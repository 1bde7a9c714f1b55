#include "pipeline/distill/distill.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "distill/adapter_start.h"
#include "distill/block_training.h"
#include "distill/gradient_pass.h"
#include "model/run/fast_linear.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/distill/saved_training.h"

namespace kerf {
namespace {
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int64_t kMostHeldOut = 32;
constexpr int64_t kPasses = 2;           // over the training windows, where no steps are asked for,
constexpr int64_t kStepsOfBlock = 100;   // and of a block
constexpr double kTravelInBlocks = 0.3;  // TrainingOptions::code_travel
constexpr double kRate = 5e-4, kRateOfPlain = 2e-3, kRateOfAdapters = 3e-2;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The last windows are held out, as calibration does it, but for those that are trained on too; windows without a token
// to learn are neither.
TrainingWindows split(const Windows& windows) {
  const int64_t training = windows.count - training_held_out(windows.count);
  TrainingWindows w{.all = windows, .training = {}, .held_out = {}};
  const auto teaches = [&](int64_t i) {
    int64_t t = i * windows.length;
    while (t < (i + 1) * windows.length && !windows.learns_after(t)) ++t;
    return t < (i + 1) * windows.length;
  };
  for (int64_t i = 0; i < training; ++i)
    if (teaches(i)) w.training.push_back(i);
  std::set<std::vector<int32_t>> seen;
  for (const int64_t i : w.training) seen.emplace(windows.window(i).begin(), windows.window(i).end());
  for (int64_t i = training; i < windows.count; ++i)
    if (teaches(i) && !seen.contains({windows.window(i).begin(), windows.window(i).end()})) w.held_out.push_back(i);
  return w;
}

// The windows in the original's ids.
Windows of_teacher(const DistillJob& job, Windows w) {
  if (!job.kept.empty())
    for (int32_t& id : w.ids) id = job.kept[static_cast<size_t>(id)];
  return w;
}

// One distillation on its way through its phases.
class Run {
 public:
  Run(const DistillJob& job, const Artifact& packed, const TargetPlan& plan)
      : job_(job),
        packed_(packed),
        plan_(plan),
        original_(job.source, packed),
        saved_(job.saved),
        phases_(parse_distill(job.options.phases)),
        windows_(split(job.windows)) {}

  Distilled run() {
    Distilled result{.weights = read_packed(packed_, plan_), .report = {}, .steps = {}};
    result.report = {{"windows", std::ssize(windows_.training)},
                     {"held_out_windows", std::ssize(windows_.held_out)},
                     {"ctx", job_.windows.length},
                     {"learned_tokens", picked_windows(windows_.all, windows_.training).learned()},
                     {"batch", options(0).batch},
                     {"seed", job_.options.seed}};
    result.report["phases"] = ordered_json::array();
    if (const int64_t learned = result.report["learned_tokens"],
        all = std::ssize(windows_.training) * (job_.windows.length - 1);
        learned < all)
      note(fmt::format("{} of {} tokens are learned: what assistants say (--distill-tokens)", learned, all));
    for (size_t i = 0; i < phases_.size(); ++i) {
      auto report = saved_.load_phase(i, result.weights);
      if (!report) {
        Student student = make_student(result.weights, packed_, plan_, phases_[i], original_, job_.options.rank);
        say_untrained(student, phases_[i]);
        const std::optional<HeldOut> before = on_second_text(student);
        report = phases_[i] == DistillPhase::blocks ? train_by_block(student, i) : train_end_to_end(student, i);
        if (before) {
          (*report)["second_text_before"] = to_json(*before);
          (*report)["second_text_after"] = to_json(*on_second_text(student));
        }
        take_back(student, result.weights);
        save([&] { saved_.save_phase(i, result.weights, *report); });
      }
      result.steps.push_back(report->at("steps"));
      result.report["phases"].push_back(std::move(*report));
    }
    return result;
  }

 private:
  TrainingOptions options(size_t phase) const {
    return training_options(job_.options, phase, std::ssize(windows_.training));
  }

  // On 32 windows at most.
  std::optional<HeldOut> on_second_text(Student& student) {
    if (!job_.second) return std::nullopt;
    if (!second_) {
      second_ = first_windows(*job_.second, std::min(job_.second->count, kMostHeldOut));
      second_teacher_.emplace(
          job_.original.architecture, *job_.original.weights, of_teacher(job_, *second_), job_.scratch, [](int64_t) {},
          job_.kept);
    }
    std::vector<int64_t> all(static_cast<size_t>(second_->count));
    std::iota(all.begin(), all.end(), 0);
    return held_out_kl(student, *second_teacher_, *second_, all);
  }

  // The first time that the system refuses to write, on a full disk say, that is told, and nothing more is saved.
  template <class F>
  void save(F&& write) {
    if (saving_disabled_) return;
    try {
      write();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::io) throw;
      saving_disabled_ = true;
      warn(fmt::format("{}; training goes on, and nothing more of it is saved for --resume", e.what()));
    }
  }

  static void say_untrained(const Student& student, DistillPhase phase) {
    const Untrained u = untrained(student);
    if (u.scales > 0)
      note(fmt::format("{}: scales of {} of {} packed matrices stay as they are, because rows share them",
                       name_of(phase), u.scales, u.matrices));
    if (u.codes > 0 && phase != DistillPhase::scales)
      note(fmt::format("{}: codes of {} of {} packed matrices stay as they are, because they were chosen together",
                       name_of(phase), u.codes, u.matrices));
  }

  ordered_json about(size_t phase, const TrainingOptions& o) const {
    return {{"phase", name_of(phases_[phase])}, {"steps", o.steps}, {"rate", o.rate}};
  }

  ordered_json train_by_block(Student& student, size_t phase) {
    const TrainingOptions o = options(phase);
    ordered_json report = about(phase, o);
    report["blocks"] = ordered_json::array();
    Progress progress("training block", student.architecture().layers());
    train_blocks(student, {job_.original.architecture, *job_.original.weights, of_teacher(job_, job_.windows)},
                 windows_, o, job_.scratch, [&](const BlockOutcome& b) {
                   report["blocks"].push_back({{"layer", b.layer},
                                               {"held_out_error_before", b.before},
                                               {"held_out_error_after", b.after},
                                               {"kept", b.kept}});
                   detail(fmt::format("block {}: error on the held-out windows {:.4g}, before {:.4g}{}", b.layer,
                                      b.after, b.before, b.kept ? "" : ": it is left as it came"));
                   progress.advance();
                 });
    return report;
  }

  ordered_json train_end_to_end(Student& student, size_t phase) {
    const auto start = Clock::now();
    if (!teacher_) {
      Progress progress("teacher: block", job_.original.architecture.layers());
      teacher_.emplace(
          job_.original.architecture, *job_.original.weights, of_teacher(job_, job_.windows), job_.scratch,
          [&](int64_t) { progress.advance(); }, job_.kept);
    }
    TrainingOptions o = options(phase);
    ordered_json report = about(phase, o);
    if (phases_[phase] == DistillPhase::lora) start_from_errors(student, report);
    std::optional<SavedTraining::Steps> from = saved_.load_steps(phase);
    if (from) {
      o.steps = from->steps;
      note(fmt::format("training goes on after step {} of {}", from->state.optimizer.steps, o.steps));
    } else if (!job_.options.time.empty()) {
      o.steps = steps_in(parse_duration(job_.options.time) / phases_end_to_end() - seconds_since(start), student, o);
    }
    o.checks = std::min(o.checks, o.steps);
    const TrainingCurve curve =
        train(student, *teacher_, windows_, o, follow(phase, o, from ? from->state.optimizer.steps : 0),
              from ? std::optional(from->state) : std::nullopt);
    say_end(phase, curve, o);
    if (report.contains("held_out_without") && curve.after.kl >= report["held_out_without"]["kl"].get<double>())
      warn(fmt::format("the held-out KL is {:.4f} with the adapter and {:.4f} without it: leave the adapter out",
                       curve.after.kl, report["held_out_without"]["kl"].get<double>()));
    report["steps"] = o.steps;
    report.update(to_json(curve));
    return report;
  }

  // Adapters begin at what gives back the most of what their matrices have lost.
  void start_from_errors(Student& student, ordered_json& report) {
    const HeldOut without = held_out_kl(student, *teacher_, windows_.all, windows_.held_out);
    Progress progress("adapters of block", student.architecture().layers());
    start_adapters(
        student, [&](const std::string& name) { return original_.values(name); },
        picked_windows(windows_.all, windows_.training), job_.scratch, [&] { progress.advance(); });
    report["rank"] = job_.options.rank;
    report["held_out_without"] = to_json(without);
    note(fmt::format("lora: held-out KL {:.4f} ± {:.4f} without adapters", without.kl, without.error));
  }

  double phases_end_to_end() const {
    return static_cast<double>(
        std::count_if(phases_.begin(), phases_.end(), [](DistillPhase p) { return p != DistillPhase::blocks; }));
  }

  // A step is made whose gradients are thrown away, and a window measured: then it is known what they take.
  int64_t steps_in(double seconds, Student& student, const TrainingOptions& o) {
    auto start = Clock::now();
    const std::vector<int64_t> batch = batch_of(windows_, o, 0);
    Divergence loss = teacher_->divergence(batch);
    add_gradients(student, picked_windows(windows_.all, batch), loss, fast_arithmetic());
    for (const Parameter& p : student.parameters()) std::fill(p.gradient.begin(), p.gradient.end(), 0.0F);
    student.settle();
    const double of_step = seconds_since(start);
    start = Clock::now();
    held_out_kl(student, *teacher_, windows_.all, std::span(windows_.held_out).first(1));
    const double of_checks =
        seconds_since(start) * static_cast<double>(std::ssize(windows_.held_out)) * static_cast<double>(o.checks + 1);
    return std::max<int64_t>(1, static_cast<int64_t>((seconds - of_checks - of_step) / of_step));
  }

  AfterStep follow(size_t phase, const TrainingOptions& o, int64_t first) {
    return [this, phase, o, first, start = Clock::now(), saved = Clock::now(), checks = size_t{0}](
               int64_t step, const TrainingCurve& curve, const std::function<TrainingState()>& state) mutable {
      const auto now = Clock::now();
      if (now - saved >= job_.save_every && step < o.steps) {
        save([&] { saved_.save_steps({.phase = phase, .steps = o.steps, .state = state()}); });
        saved = Clock::now();
      }
      if (curve.checks.size() == checks || curve.checks.empty()) return;
      checks = curve.checks.size();
      const TrainingCheck& c = curve.checks.back();
      const double seconds = seconds_since(start), done = static_cast<double>(step - first);
      note(fmt::format(
          "{}: step {} of {}, loss {:.4f}, held-out KL {:.4f} ± {:.4f} (it began at {:.4f}), {:.0f} tokens/s, "
          "{} left",
          name_of(phases_[phase]), step, o.steps, c.loss, c.held_out.kl, c.held_out.error, curve.before.kl,
          done * static_cast<double>(o.batch * windows_.all.length) / seconds,
          duration_text(seconds / done * static_cast<double>(o.steps - step))));
    };
  }

  void say_end(size_t phase, const TrainingCurve& curve, const TrainingOptions& o) const {
    using End = TrainingCurve::End;
    const bool lora = phases_[phase] == DistillPhase::lora;
    const std::string unchanged = lora ? "the adapter is as it began" : "the model is as it came",
                      of = curve.best_step == 0
                               ? unchanged
                               : fmt::format("the {} is that of step {}", lora ? "adapter" : "model", curve.best_step);
    if (curve.end == End::diverged)
      warn(
          fmt::format("the loss of training rose to more than ten times what it was or to no number, and training has "
                      "ended; {}; "
                      "a lower --distill-rate than {} may help",
                      of, o.rate));
    else if (curve.best_step == 0)
      warn(fmt::format(
          "training has not lowered the held-out KL, and {}; more text (--distill-windows, --distill-text) or a lower "
          "--distill-rate than {} may help",
          of, o.rate));
    else if (curve.end == End::no_longer_falls)
      note(fmt::format("the held-out KL no longer falls, and training has ended early; {}", of));
  }

  const DistillJob& job_;
  const Artifact& packed_;
  const TargetPlan& plan_;
  const OriginalWeights original_;
  const SavedTraining saved_;
  const std::vector<DistillPhase> phases_;
  const TrainingWindows windows_;
  std::optional<Teacher> teacher_, second_teacher_;
  std::optional<Windows> second_;
  bool saving_disabled_ = false;
};

}  // namespace

namespace {

void check_rank(const DistillOptions& o, const Architecture& packed) {
  if (!adapts(o) && o.rank != DistillOptions().rank)
    fail(ErrorKind::usage, "--distill-rank is that of adapters, and none is trained; give --distill lora");
  if (!adapts(o)) return;
  for (int64_t layer = 0; layer < packed.layers(); ++layer)
    for (const Site& site : packed.block_sites(layer))
      if (o.rank > std::min(site.out, site.in))
        fail(ErrorKind::usage, "--distill-rank {}: {} is {} x {}, and its adapter has a rank of {} at most", o.rank,
             site.name, site.out, site.in, std::min(site.out, site.in));
}

}  // namespace

void check_distill(const DistillOptions& o, const Architecture& original, const Architecture& packed) {
  const std::vector<DistillPhase> phases = parse_distill(o.phases);
  if (phases.empty()) {
    if (o != DistillOptions())
      fail(ErrorKind::usage,
           "options of a training were given without --distill, which says what is trained: blocks, scales, codes, "
           "full or lora");
    return;
  }
  parse_steps(o.steps, phases.size());
  check_rank(o, packed);
  if (o.temperature != DistillOptions().temperature && !own_text_tokens(o.text))
    fail(ErrorKind::usage,
         "--distill-temperature says how the model writes its own text to be trained on, and it is to write none; give "
         "--distill-text self:100000, say");
  if (!o.time.empty()) {
    parse_duration(o.time);
    if (!o.steps.empty()) fail(ErrorKind::usage, "--time and --steps both say how long training is; give one of them");
    if (phases.size() == 1 && phases[0] == DistillPhase::blocks)
      fail(ErrorKind::usage, "--time is for training end to end; of blocks give --steps");
  }
  if (std::find(phases.begin(), phases.end(), DistillPhase::blocks) == phases.end()) return;
  if (original.layers() != packed.layers() || original.hidden() != packed.hidden())
    fail(ErrorKind::usage,
         "--distill blocks compares blocks with the original's, and the pruned model has {} of {} channels instead of "
         "{} of {}; give scales, codes or full",
         packed.layers(), packed.hidden(), original.layers(), original.hidden());
}

bool adapts(const DistillOptions& o) {
  const std::vector<DistillPhase> phases = parse_distill(o.phases);
  return !phases.empty() && phases.back() == DistillPhase::lora;
}

int64_t training_held_out(int64_t windows) { return std::min(held_out_windows(windows), kMostHeldOut); }

TrainingOptions training_options(const DistillOptions& o, size_t phase, int64_t windows) {
  const std::vector<DistillPhase> phases = parse_distill(o.phases);
  const std::vector<int64_t> asked = parse_steps(o.steps, phases.size());
  const bool blocks = phases[phase] == DistillPhase::blocks, full = phases[phase] == DistillPhase::full;
  TrainingOptions t{.batch = std::min(o.batch, windows), .seed = o.seed};
  t.rate = o.rate > 0 ? o.rate : full ? kRateOfPlain : phases[phase] == DistillPhase::lora ? kRateOfAdapters : kRate;
  if (blocks) t.code_travel = kTravelInBlocks;
  t.steps = !asked.empty() ? asked[phase] : blocks ? kStepsOfBlock : std::max<int64_t>(1, kPasses * windows / t.batch);
  return t;
}

void check_training_windows(const Windows& windows) {
  const TrainingWindows w = split(windows);
  if (w.training.empty() && windows.count > 1)
    fail(ErrorKind::usage,
         "--distill finds nothing that an assistant says in the windows that it trains on; give chats with answers, or "
         "--distill-tokens all");
  if (!w.held_out.empty()) return;
  fail(ErrorKind::usage, "--distill holds one window in eight out of its training, and {}; give a longer text",
       windows.count == 1 ? "there is one in all"
                          : "those that it would hold out are trained on too, or hold nothing to be learned");
}

Distilled distill(const DistillJob& job, const Artifact& packed, const TargetPlan& plan) {
  return Run(job, packed, plan).run();
}

}  // namespace kerf
