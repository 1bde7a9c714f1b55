#include "pipeline/plan/option.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "distill/phase.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/stored_dtype.h"
#include "prune/method.h"
#include "prune/request.h"
#include "targets/target.h"
#include "verify/gate.h"

namespace kerf {
namespace {

using S = const OptionStructs&;
using Field = OptionField;

void check_word(std::string_view flag, std::string_view text, std::string_view one, std::string_view other) {
  if (text != one && text != other) fail(ErrorKind::usage, "{} {}: there is {} and {}", flag, text, one, other);
}

constexpr Option kOptions[] = {
    {.flag = "--target",
     .key = "targets",
     .help = "What will load the files: NAME[:SCHEME], several separated by commas",
     .type_name = "NAME[:SCHEME]",
     .field = [](S s) -> Field { return &s.run->targets; },
     .same_run = SameRun::otherwise,
     .check = [](const std::string& text) { parse_target(text); }},
    {.flag = "--method",
     .key = "method",
     .help = "How codes are chosen: rtn, gptq, awq, gptq+awq or auto (default: auto with --calib, rtn without)",
     .type_name = "NAME",
     .field = [](S s) -> Field { return &s.run->method; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { parse_method(text, true); }},
    {.flag = "--damping",
     .key = "gptq.damping",
     .help = "Added to the Hessian's diagonal, relative to its mean",
     .type_name = "NUMBER",
     .field = [](S s) -> Field { return &s.quantizer->damping; },
     .same_run = SameRun::this_value,
     .least = 0,
     .most = 1,
     .always_written = true},
    {.flag = "--refine",
     .key = "gptq.refine",
     .help = "Passes over the codes after the first",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.quantizer->refine; },
     .same_run = SameRun::this_value,
     .least = 0,
     .most = kMostRefines,
     .always_written = true},
    {.flag = "--prune",
     .key = "prune",
     .help = "What goes: depth=N blocks; ffn=SHARE, heads=SHARE, hidden=SHARE stay; vocab=FILE: tokens that the text "
             "needs stay, vocab=N: so many; params=SHARE or bytes=SIZE stay, chosen among all of these; "
             "sparsity=SHARE or 2:4: so many weights become zero",
     .type_name = "WHAT",
     .field = [](S s) -> Field { return &s.run->prune; },
     .same_run = SameRun::this_value,
     .check =
         [](const std::string& text) {
           parse_prune({&text, 1});
         }},
    {.flag = "--prune-method",
     .key = "prune_method",
     .help = "How weights that become zero are chosen: magnitude, wanda or sparsegpt, and +refit: the others solved "
             "against the Hessian (default: sparsegpt+refit with --calib, magnitude without)",
     .type_name = "NAME",
     .field = [](S s) -> Field { return &s.run->prune_method; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { parse_prune_method(text, true); }},
    {.flag = "--prune-allocation",
     .key = "prune_allocation",
     .help =
         "uniform: every matrix has the same share of zeros (default); sensitivity: shares by what zeros cost in each, "
         "measured on the calibration text",
     .type_name = "NAME",
     .field = [](S s) -> Field { return &s.run->prune_allocation; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { check_word("--prune-allocation", text, "uniform", kBySensitivity); }},
    {.flag = "--prune-correction",
     .key = "prune_correction",
     .help = "off: channels and heads that stay do not make up for those that go (default: on with --calib)",
     .type_name = "on|off",
     .field = [](S s) -> Field { return &s.run->prune_correction; },
     .same_run = SameRun::this_value},
    {.flag = "--prune-multiple",
     .key = "prune_multiple",
     .help = "Widths that stay are multiples of it (default: what the kernels of the targets want)",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->prune_multiple; },
     .same_run = SameRun::this_value,
     .least = 1},
    {.flag = "--asymmetric",
     .key = "asymmetric",
     .help = "on: run the model in full precision beside the compressed one, and let the weights make up for what the "
             "latter's activations lack; about twice the time (default: on with the method auto)",
     .type_name = "on|off",
     .field = [](S s) -> Field { return &s.run->asymmetric; },
     .same_run = SameRun::this_value},
    {.flag = "--hessian",
     .key = "hessian",
     .help =
         "What an output error counts by: inputs, all outputs and tokens alike; kl, what it does to the predictions, "
         "measured by a pass of gradients; for gptq and auto, about twice the time (default: inputs)",
     .type_name = "inputs|kl",
     .field = [](S s) -> Field { return &s.run->hessian; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { check_word("--hessian", text, kInputHessian, kKlHessian); }},
    {.flag = "--calib",
     .key = "calib.text",
     .help = "Text to calibrate on: UTF-8, or records (JSONL or a JSON list) with \"text\", \"messages\", "
             "\"conversations\", "
             "\"prompt\" and \"completion\" or \"instruction\" and \"output\"; - for standard input; self:N for N "
             "tokens that "
             "the model writes itself",
     .type_name = "FILE",
     .field = [](S s) -> Field { return &s.calib->text; },
     .same_run = SameRun::otherwise,
     .always_written = true},
    {.flag = "--calib-windows",
     .key = "calib.windows",
     .help = "Calibrate on at most so many windows of the text",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.calib->windows; },
     .same_run = SameRun::otherwise,
     .least = 1,
     .always_written = true},
    {.flag = "--calib-ctx",
     .key = "calib.ctx",
     .help = "Tokens of a calibration window",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.calib->ctx; },
     .same_run = SameRun::otherwise,
     .least = 2,
     .always_written = true},
    {.flag = "--calib-seed",
     .key = "calib.seed",
     .help = "Shuffles the documents of a text of records; 0 keeps the order of the file",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.calib->seed; },
     .same_run = SameRun::otherwise,
     .always_written = true},
    {.flag = "--imatrix",
     .key = "imatrix",
     .help = "Importance matrix of llama.cpp (GGUF or .dat): rtn weighs errors by it; instead of --calib",
     .type_name = "FILE",
     .field = [](S s) -> Field { return &s.run->imatrix; }},
    {.flag = "--distill",
     .key = "distill.phases",
     .help =
         "Train what was packed against the original: blocks (each block's output: codes, scales, norms), scales "
         "(scales and norms by the KL of the logits), codes (codes too), full (plain matrices too), lora (a low-rank "
         "adapter in files of its own); several one after the other, separated by commas. Needs --calib",
     .type_name = "PHASE",
     .field = [](S s) -> Field { return &s.run->distill.phases; },
     .same_run = SameRun::this_value,
     .check =
         [](const std::string& text) {
           parse_distill({&text, 1});
         }},
    {.flag = "--distill-text",
     .key = "distill.text",
     .help =
         "Train on this text (default: that of --calib); self:N: on that of --calib and N tokens that the model writes "
         "itself",
     .type_name = "FILE",
     .field = [](S s) -> Field { return &s.run->distill.text; },
     .same_run = SameRun::this_value},
    {.flag = "--distill-temperature",
     .key = "distill.temperature",
     .help = "At which the model writes the text of --distill-text self:N",
     .type_name = "NUMBER",
     .field = [](S s) -> Field { return &s.run->distill.temperature; },
     .same_run = SameRun::this_value,
     .least = 0,
     .most = 100},
    {.flag = "--distill-windows",
     .key = "distill.windows",
     .help = "Train on so many windows of the text (default: as many as --calib-windows)",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->distill.windows; },
     .same_run = SameRun::this_value,
     .least = 1},
    {.flag = "--distill-tokens",
     .key = "distill.tokens",
     .help =
         "Which tokens of chats are learned end to end: assistant, what assistants say, or all (default: assistant)",
     .type_name = "assistant|all",
     .field = [](S s) -> Field { return &s.run->distill.tokens; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { check_word("--distill-tokens", text, kAnswers, kAllTokens); }},
    {.flag = "--steps",
     .key = "distill.steps",
     .help = "Steps of the training, one number for all phases or one for each (default: two passes over its windows; "
             "100 of each block)",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->distill.steps; },
     .same_run = SameRun::this_value,
     .check = [](const std::string& text) { parse_steps({text}, 1); }},
    {.flag = "--time",
     .key = "distill.time",
     .help = "Time for training what follows the blocks, such as 20min: as many steps as it holds; the report says how "
             "many, and --steps with them gives the same bytes",
     .type_name = "TIME",
     .field = [](S s) -> Field { return &s.run->distill.time; },
     .check = [](const std::string& text) { parse_duration(text); }},
    {.flag = "--distill-batch",
     .key = "distill.batch",
     .help = "Windows of a training step",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->distill.batch; },
     .same_run = SameRun::this_value,
     .least = 1},
    {.flag = "--distill-rate",
     .key = "distill.rate",
     .help = "Learning rate of scales, norms, plain weights and adapters, relative to their size (default: 0.0005; "
             "0.002 of "
             "full, 0.03 of lora)",
     .type_name = "NUMBER",
     .field = [](S s) -> Field { return &s.run->distill.rate; },
     .same_run = SameRun::this_value,
     .least = 0,
     .most = 1},
    {.flag = "--distill-rank",
     .key = "distill.rank",
     .help = "Rank of the adapter that lora trains beside each matrix",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->distill.rank; },
     .same_run = SameRun::this_value,
     .least = 1},
    {.flag = "--distill-seed",
     .key = "distill.seed",
     .help = "Of the order of the training windows",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.run->distill.seed; },
     .same_run = SameRun::this_value},
    {.flag = "--text",
     .key = "eval.text",
     .help = "Text to evaluate on: UTF-8, or records as for --calib; - for standard input",
     .type_name = "FILE",
     .field = [](S s) -> Field { return &s.eval->text; },
     .always_written = true},
    {.flag = "--windows",
     .key = "eval.windows",
     .help = "Evaluate at most so many windows of the text; 0: every window that it holds",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.eval->windows; },
     .least = 0,
     .always_written = true},
    {.flag = "--ctx",
     .key = "eval.ctx",
     .help = "Tokens in a window of the evaluation",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.eval->ctx; },
     .least = 2,
     .always_written = true},
    {.flag = "--skip-tokens",
     .key = "eval.skip_tokens",
     .help = "Tokens of the text left out at its beginning",
     .type_name = "N",
     .field = [](S s) -> Field { return &s.eval->skip_tokens; },
     .least = 0,
     .always_written = true},
    {.flag = "--second-text",
     .key = "eval.second_text",
     .help = "A text of another kind to evaluate on as well, from its beginning: so that a fit to the kind of --calib "
             "shows",
     .type_name = "FILE",
     .field = [](S s) -> Field { return &s.eval->second_text; }},
    {.flag = "--flash-attention",
     .key = "eval.flash_attention",
     .help = "Whether llama.cpp is measured with flash attention (default: on, which is what its auto comes to)",
     .type_name = "on|off",
     .field = [](S s) -> Field { return &s.eval->runtime.flash_attention; }},
    {.flag = "--kv-cache",
     .key = "eval.kv_cache",
     .help = "Type of the key/value cache that llama.cpp is measured with: f16, f32, q8_0 or q4_0 (default: f16)",
     .type_name = "TYPE",
     .field = [](S s) -> Field { return &s.eval->runtime.kv_cache; }},
    {.flag = "--gate",
     .key = "gate",
     .help = "Limits, such as 'kl<0.05,ppl_ratio<1.03,top1>0.9,bytes<90MB'; exit code 1 when one is missed",
     .type_name = "LIMITS",
     .field = [](S s) -> Field { return &s.run->gate; },
     .check = [](const std::string& text) { parse_gate(text); },
     .always_written = true},
    {.flag = "--dtype",
     .key = "dtype",
     .help = "Of targets that load safetensors: the type of embedding, norms and scales, auto, bfloat16, float16 or "
             "float32 (default: the model's; for float32 models auto, the half-precision type that loses least)",
     .type_name = "NAME",
     .field = [](S s) -> Field { return &s.run->dtype; },
     .same_run = SameRun::otherwise,
     .check = [](const std::string& text) { parse_dtype(text); }},
    {.flag = "--strict",
     .key = "strict",
     .help = "Refuse a matrix that the target can only store in another way than the scheme says",
     .field = [](S s) -> Field { return Flag{&s.run->strict}; }},
    {.flag = "--requantize",
     .key = "requantize",
     .help = "Take a model that is quantized already: the reference is what its bytes decode to, and what its own "
             "quantization has cost is in no figure",
     .field = [](S s) -> Field { return Flag{&s.run->requantize}; }},
    {.flag = "--shard-size",
     .key = "shard_size",
     .help = "Most bytes of one file of weights (default: 5 GB in safetensors; a GGUF is one file)",
     .type_name = "SIZE",
     .field = [](S s) -> Field { return ByteSize{&s.run->shard_bytes}; },
     .same_run = SameRun::otherwise},

    // Of one run, not of a recipe.
    {.flag = "--bytes",
     .help = "Size of the file, allocated to the matrices for the smallest predicted loss; needs --calib",
     .type_name = "SIZE",
     .field = [](S s) -> Field { return ByteSize{&s.run->bytes}; },
     .same_run = SameRun::otherwise},
    {.flag = "--bpw",
     .help = "The same as bits per weight of the whole file",
     .type_name = "NUMBER",
     .field = [](S s) -> Field { return &s.run->bpw; },
     .same_run = SameRun::otherwise,
     .least = 0,
     .most = 32},
    {.flag = "--memory",
     .help = "Memory that a calibrated run may use, such as 2GB; activations beyond it lie in a file of the output "
             "folder while it runs",
     .type_name = "SIZE",
     .field = [](S s) -> Field { return ByteSize{&s.run->memory}; }},
    {.flag = "--resume",
     .help = "Go on with a calibrated run that was stopped, in the same folder",
     .field = [](S s) -> Field { return Flag{&s.run->resume}; }},
    {.flag = "--save-every",
     .help = "Seconds between saved states of a calibrated run",
     .type_name = "SECONDS",
     .field = [](S s) -> Field { return &s.run->save_every; },
     .least = 0,
     .most = 1e9},
    {.flag = "--force",
     .help =
         "Write into a folder that is not empty, replacing files of the same name and removing what earlier runs of "
         "kerf have left there",
     .field = [](S s) -> Field { return Flag{&s.run->force}; }},
    {.flag = "--publish-anyway",
     .help = "Publish the files when a gate is missed, too; else they stay in OUT/.kerf-staging, and OUT as it was",
     .field = [](S s) -> Field { return Flag{&s.run->publish_anyway}; }},
};

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // which clang 14 does not find by itself

}  // namespace

std::span<const Option> all_options() { return kOptions; }

OptionStructs structs_of(CompressOptions& o) {
  return {.run = &o, .eval = &o.eval, .calib = &o.calib, .quantizer = &o.quantizer};
}

void check_texts(CompressOptions o) {
  for (const Option& option : kOptions) {
    if (!option.check) continue;
    const OptionField field = option.field(structs_of(o));
    if (const auto* one = std::get_if<std::string*>(&field); one && !(*one)->empty()) option.check(**one);
    if (const auto* several = std::get_if<std::vector<std::string>*>(&field))
      for (const std::string& text : **several) option.check(text);
  }
}

bool is_set(const OptionField& field) {
  return std::visit(
      Overloaded{[](const std::string* x) { return !x->empty(); },
                 [](const std::vector<std::string>* x) { return !x->empty(); },
                 [](const std::filesystem::path* x) { return !x->empty(); },
                 [](const std::optional<bool>* x) { return x->has_value(); }, [](ByteSize x) { return *x.value != 0; },
                 [](Flag x) { return *x.value; }, [](const auto* x) { return *x != 0; }},
      field);
}

nlohmann::ordered_json to_json(const OptionField& field) {
  using Json = nlohmann::ordered_json;
  return std::visit(Overloaded{[](const std::filesystem::path* x) -> Json { return x->string(); },
                               [](const std::optional<bool>* x) -> Json {
                                 if (!*x) return nullptr;
                                 return **x ? "on" : "off";
                               },
                               [](ByteSize x) -> Json { return *x.value; }, [](Flag x) -> Json { return *x.value; },
                               [](const auto* x) -> Json { return *x; }},
                    field);
}

void copy(const OptionField& to, const OptionField& from) {
  const auto same = Overloaded{[](ByteSize a, ByteSize b) { *a.value = *b.value; },
                               [](Flag a, Flag b) { *a.value = *b.value; }, []<class T>(T* a, T* b) { *a = *b; },
                               [](const auto&, const auto&) { fail(ErrorKind::internal, "options of two kinds"); }};
  std::visit(same, to, from);
}

}  // namespace kerf
