// Each matrix is unpacked to its numbers, the numbers are written as the other layout wants them, and whatever would
// not come out the same is refused.
#include "pipeline/runs/repack.h"

#include <algorithm>
#include <cmath>

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/parallel.h"
#include "model/arch/family.h"
#include "model/run/weights.h"
#include "pipeline/plan/plan.h"
#include "pipeline/plan/stored_dtype.h"
#include "pipeline/repository/card.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "verify/adapter.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& name, const std::string& reason) {
  fail(ErrorKind::unsupported, "{} cannot be repacked without loss: {}", name, reason);
}

Artifact open_packed(const std::string& path) {
  Artifact a = open_artifact(resolve_model(path));
  if (const auto beside = adapter_beside(a))
    warn(
        fmt::format("{} lies beside the model and is not taken along; it fits the new files too, which hold the same "
                    "numbers: copy it there",
                    beside->string()));
  if (a.target.empty())
    fail(ErrorKind::unsupported,
         "{} is a full-precision checkpoint, and repack moves quantized numbers; use `kerf compress`", path);
  return a;
}

// The numbers of a packed matrix; refused where the file has no layout that kerf writes.
const Scheme& numbers_of(const StoredWeight& w) {
  if (w.layout.empty())
    refuse(w.file_name,
           fmt::format("it is stored as {}, and kerf writes no such matrices (groups in activation order, or "
                       "an older packing)",
                       w.type));
  return w.numbers;
}

// The scheme that most weights of the blocks call for.
std::string scheme_for(const Artifact& a, const Target& target) {
  std::vector<std::pair<std::string, int64_t>> weights_in;
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer)) {
      const StoredWeight& w = *a.weights->weight(site.name);
      if (w.scheme.empty()) continue;
      // The same runtime rounds activations as before.
      const auto scheme = w.vllm && a.target == target.name() ? std::optional(target.canonical(w.scheme))
                                                              : target.scheme_holding(numbers_of(w));
      if (!scheme) refuse(w.file_name, fmt::format("{} has no scheme for {}", target.name(), describe(w.numbers)));
      auto at = std::find_if(weights_in.begin(), weights_in.end(), [&](const auto& s) { return s.first == *scheme; });
      if (at == weights_in.end()) at = weights_in.insert(at, {*scheme, 0});
      at->second += site.out * site.in;
    }
  if (weights_in.empty()) fail(ErrorKind::bad_input, "{} has no packed matrix", a.path.string());
  return std::max_element(weights_in.begin(), weights_in.end(), [](auto& x, auto& y) { return x.second < y.second; })
      ->first;
}

TargetChoice choose(const RepackOptions& o, const Artifact& a) {
  const size_t colon = o.target.find(':');
  const Target& target = find_target(std::string_view(o.target).substr(0, colon));
  const Repository& kind = repository_of(target);
  if (kind.repacks_in_place)
    fail(ErrorKind::unsupported,
         "repack moves numbers from {} to repositories of the Hugging Face hub, not to {} for {}", a.format, kind.name,
         target.name());
  return {&target, colon == std::string::npos ? scheme_for(a, target) : target.canonical(o.target.substr(colon + 1))};
}

// What the runtime of a plan does otherwise, the numbers being the same.
std::optional<std::string> other_arithmetic(const Artifact& a, const TargetPlan& plan) {
  for (const PlannedMatrix& m : plan.matrices) {
    const StoredWeight& w = *a.weights->weight(m.site.name);
    if (w.vllm && m.storage.layout && m.storage.layout->name() != w.layout)
      return fmt::format("{} rounds activations to 8 bits, and {} does not: the same weights, and other results",
                         w.scheme, plan.choice.text());
  }
  return std::nullopt;
}

// Whether matrices stored so hold these numbers, the type of scales apart; symmetric ones are also asymmetric ones.
bool holds(const Storage& s, const Scheme& numbers, int64_t cols) {
  if (!s.layout) return false;
  const int64_t group = s.scheme.levels[0].block.cols, own = numbers.levels[0].block.cols;
  return s.scheme.bits == numbers.bits && (group ? group : cols) == (own ? own : cols) &&
         (s.scheme.levels.size() == 2 || numbers.levels.size() == 1);
}

// How the target stores a matrix of the artifact: by its own scheme where that differs from the usual one.
Storage storage_of(const Artifact& a, const TargetChoice& choice, const SiteShape& site, Dtype model) {
  const StoredWeight& w = *a.weights->weight(site.name);
  if (w.scheme.empty()) {
    Storage dense = choice.target->storage(choice.scheme, {.name = site.name, .place = SitePlace::embedding}, model);
    dense.remark.clear();
    return dense;
  }
  const Scheme& numbers = numbers_of(w);
  const Storage usual = choice.target->storage(choice.scheme, site, model);
  if (holds(usual, numbers, site.in)) return usual;
  const auto scheme = choice.target->scheme_holding(numbers);
  if (!scheme) refuse(site.name, fmt::format("{} has no scheme for {}", choice.target->name(), describe(numbers)));
  Storage own = choice.target->storage(*scheme, site, model);
  if (!holds(own, numbers, site.in) || own.layout != usual.layout)
    refuse(site.name, fmt::format("it holds {}, not what {} says", describe(numbers), choice.text()));
  return own;
}

// Some matrices may differ from the scheme, but not all.
void check_scheme(const Artifact& a, const TargetPlan& plan) {
  const PlannedMatrix* first = nullptr;
  for (const PlannedMatrix& m : plan.matrices) {
    if (!m.storage.layout) continue;
    const Storage usual = plan.choice.target->storage(plan.choice.scheme, shape_of(a.architecture, m.site), plan.dtype);
    if (usual.scheme == m.storage.scheme) return;
    if (!first) first = &m;
  }
  if (!first) fail(ErrorKind::bad_input, "{} has no packed matrix", a.path.string());
  refuse(first->site.name,
         fmt::format("it holds {}, not what {} says", describe(first->storage.scheme), plan.choice.text()));
}

// Parameters in another type, every one the same number.
ParamArray same_values(const ParamArray& from, Dtype stored, const std::string& name) {
  if (from.stored == stored) return from;
  ParamArray to{.stored = stored, .rows = from.rows, .cols = from.cols};
  to.bytes.resize(static_cast<size_t>(bytes_of(stored, from.rows * from.cols)));
  for (int64_t r = 0; r < from.rows; ++r)
    for (int64_t c = 0; c < from.cols; ++c) {
      to.set(r, c, from.get(r, c));
      if (to.get(r, c) != from.get(r, c))
        refuse(name, fmt::format("the scale {} of row {} is no number of {}", from.get(r, c), r, name_of(stored)));
    }
  return to;
}

QuantizedMatrix in_scheme(const QuantizedMatrix& q, const Scheme& wanted, const std::string& name) {
  QuantizedMatrix out{.scheme = wanted, .rows = q.rows, .cols = q.cols, .codes = q.codes};
  out.params.push_back(same_values(q.params[0], wanted.levels[0].stored, name));
  const uint8_t middle = static_cast<uint8_t>(1 << (q.scheme.bits - 1));
  if (wanted.levels.size() == 1) return out;
  ParamArray zeros{.stored = Dtype::u8, .rows = q.params[0].rows, .cols = q.params[0].cols};
  zeros.bytes.assign(static_cast<size_t>(zeros.rows * zeros.cols), std::byte{middle});
  if (q.params.size() == 2) zeros = q.params[1];
  const std::byte lowest{wanted.levels[1].lowest};
  if (std::any_of(zeros.bytes.begin(), zeros.bytes.end(), [&](std::byte z) { return z < lowest; }))
    refuse(name, fmt::format("it has zero points below {}, which the layout cannot store (GPTQ v2 can)",
                             wanted.levels[1].lowest));
  out.params.push_back(std::move(zeros));
  return out;
}

QuantizedMatrix unpack(const Artifact& a, const StoredWeight& w) {
  const Layout& layout = find_layout(w.layout);
  if (const auto rule = layout.refuses(w.numbers, w.info.rows(), w.info.cols())) refuse(w.file_name, *rule);
  const std::string stem = w.file_name.substr(0, w.file_name.size() - std::string_view("weight").size());
  const std::vector<LayoutTensor> plan = layout.plan(w.numbers, w.info.rows(), w.info.cols());
  std::vector<std::span<const std::byte>> parts;
  for (const LayoutTensor& part : plan) {
    const StoredTensor* t = a.weights->reader().find(stem + part.suffix);
    if (!t && !part.is_constant()) fail(ErrorKind::internal, "{} has no part {}", w.file_name, part.suffix);
    parts.push_back(t ? t->bytes : part.constant);  // files may leave out what follows from the shape (g_idx)
  }
  return layout.unpack(w.numbers, w.info.rows(), w.info.cols(), parts);
}

// Plain numbers in another type, every one the same.
std::vector<std::byte> same_numbers(std::span<const float> values, Dtype type, const std::string& name) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, static_cast<int64_t>(values.size()))));
  std::vector<float> back(values.size());
  from_f32(type, values, bytes);
  to_f32(type, bytes, back);
  for (size_t i = 0; i < values.size(); ++i)
    if (back[i] != values[i])
      refuse(name, fmt::format("its element {} is {}, which is no number of {}", i, values[i], name_of(type)));
  return bytes;
}

// visit(first row, values) for panels of the rows of a matrix in plain numbers.
template <class Visit>
void for_each_panel(const Artifact& a, const Site& site, const Visit& visit) {
  constexpr int64_t kAtOnce = 1 << 20;
  const int64_t rows = std::max<int64_t>(1, kAtOnce / site.in);
  for (int64_t begin = 0; begin < site.out; begin += rows) {
    std::vector<float> values(static_cast<size_t>(std::min(rows, site.out - begin) * site.in));
    a.weights->read(*a.weights->find(site.name), begin, values);
    check_finite(values, site.name, begin, site.in);
    visit(begin, values);
  }
}

void write_matrix(const Artifact& a, const PlannedMatrix& m, Writer& writer) {
  const StoredWeight& w = *a.weights->weight(m.site.name);
  if (m.storage.layout) {
    const auto parts = m.storage.layout->pack(in_scheme(unpack(a, w), m.storage.scheme, m.site.name));
    for (size_t i = 0; i < m.parts.size(); ++i)
      if (!m.parts[i].is_constant()) writer.write(m.file_tensors[i], 0, parts[i]);
    return;
  }
  for_each_panel(a, m.site, [&](int64_t begin, std::span<const float> values) {
    writer.write(m.file_tensors[0], static_cast<uint64_t>(begin) * m.parts[0].row_bytes,
                 same_numbers(values, m.storage.dense, m.site.name));
  });
}

bool has_types_of_source(const Artifact& a, const TargetPlan& plan) {
  return std::all_of(plan.matrices.begin(), plan.matrices.end(),
                     [&](const PlannedMatrix& m) {
                       const StoredWeight& w = *a.weights->weight(m.site.name);
                       return m.storage.layout ? w.numbers.levels[0].stored == m.storage.scheme.levels[0].stored
                                               : w.info.dtype == m.storage.dense;
                     }) &&
         std::all_of(plan.vectors.begin(), plan.vectors.end(),
                     [&](const PlannedVector& v) { return a.weights->find(v.name)->dtype == v.dtype; });
}

// Why the plan's types do not hold every scale and plain number; nothing when they do.
std::optional<std::string> loss(const Artifact& a, const TargetPlan& plan) {
  if (has_types_of_source(a, plan)) return std::nullopt;
  try {
    parallel_for(static_cast<int64_t>(plan.matrices.size()), [&](int64_t i) {
      const PlannedMatrix& m = plan.matrices[static_cast<size_t>(i)];
      const StoredWeight& w = *a.weights->weight(m.site.name);
      if (m.storage.layout)
        (void)in_scheme(unpack(a, w), m.storage.scheme, m.site.name);
      else
        for_each_panel(a, m.site, [&](int64_t, std::span<const float> values) {
          (void)same_numbers(values, m.storage.dense, m.site.name);
        });
    });
    for (const PlannedVector& v : plan.vectors) {
      std::vector<float> values(static_cast<size_t>(v.size));
      a.weights->read(*a.weights->find(v.name), 0, values);
      (void)same_numbers(values, v.dtype, v.name);
    }
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::unsupported) throw;
    return e.what();
  }
  return std::nullopt;
}

// The plan in the model's own dtype, or, where that would round a number, in another that does not.
TargetPlan plan_without_loss(const RepackOptions& o, const Artifact& a, const TargetChoice& choice) {
  const auto asked = parse_dtype(o.dtype);
  const std::span<const Dtype> taken = choice.target->model_dtypes();
  if (asked && std::find(taken.begin(), taken.end(), *asked) == taken.end())
    fail(ErrorKind::usage, "{} takes no model in {}; its runtimes compute in bfloat16 or float16",
         choice.target->name(), torch_name_of(*asked));
  const auto plan_in = [&](Dtype dtype) {
    Architecture stored = a.architecture;
    stored.dtype = dtype;
    TargetPlan plan = make_plan(stored, choice, model_name(o.packed), false,
                                [&](const SiteShape& site) { return storage_of(a, choice, site, dtype); });
    check_scheme(a, plan);
    return plan;
  };
  const Dtype own = a.architecture.dtype;
  std::vector<Dtype> tries = {asked.value_or(own)};
  if (!asked)
    for (const Dtype d : {Dtype::f16, Dtype::bf16})
      if (d != own && (d == Dtype::bf16 || !activations_exceed_f16(a.architecture))) tries.push_back(d);
  std::string why;
  for (const Dtype dtype : tries) {
    const bool takes = std::find(taken.begin(), taken.end(), dtype) != taken.end();
    if (!takes) continue;
    TargetPlan plan = plan_in(dtype);
    const auto lost = loss(a, plan);
    if (!lost) {
      if (dtype != own)
        plan.remarks.push_back(
            fmt::format("the model is written in {}, which holds every number of it, not in its own {}",
                        torch_name_of(dtype), torch_name_of(own)));
      return plan;
    }
    why += why.empty() ? *lost : fmt::format("; in {}, {}", torch_name_of(dtype), *lost);
  }
  std::string way = fmt::format("compress the original model for {} instead", choice.target->name());
  if (!asked && std::find(taken.begin(), taken.end(), Dtype::f32) != taken.end())
    way += ", or give --dtype float32, which holds all numbers, and which transformers loads and vLLM's kernels do not";
  fail(ErrorKind::unsupported, "{}; {}", why, way);
}

void write_all(const Artifact& a, const TargetPlan& plan, Writer& writer) {
  parallel_for(static_cast<int64_t>(plan.matrices.size()),
               [&](int64_t i) { write_matrix(a, plan.matrices[static_cast<size_t>(i)], writer); });
  for (const PlannedVector& v : plan.vectors) {
    std::vector<float> values(static_cast<size_t>(v.size));
    a.weights->read(*a.weights->find(v.name), 0, values);
    check_finite(values, v.name, 0, 1);
    writer.write(v.file_tensor, 0, same_numbers(values, v.dtype, v.name));
  }
  for (const PlannedConstant& c : plan.constants) writer.write(c.file_tensor, 0, c.bytes);
}

[[noreturn]] void fail_as_other(const std::string& name) {
  fail(ErrorKind::internal, "{} was read back as other numbers than were written; nothing was published", name);
}

bool same_bits(std::span<const float> x, std::span<const float> y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size_bytes()) == 0);
}

void compare_plain(const Artifact& a, const Artifact& again, const std::string& name, int64_t rows, int64_t cols) {
  constexpr int64_t kAtOnce = 1 << 20;
  const int64_t panel = std::max<int64_t>(1, kAtOnce / cols);
  for (int64_t begin = 0; begin < rows; begin += panel) {
    std::vector<float> x(static_cast<size_t>(std::min(panel, rows - begin) * cols)), y(x.size());
    a.weights->read(*a.weights->find(name), begin, x);
    again.weights->read(*again.weights->find(name), begin, y);
    if (!same_bits(x, y)) fail_as_other(name);
  }
}

// The numbers of both files, bit for bit.
void compare(const Artifact& a, const TargetPlan& plan, const Artifact& again) {
  parallel_for(static_cast<int64_t>(plan.matrices.size()), [&](int64_t i) {
    const PlannedMatrix& m = plan.matrices[static_cast<size_t>(i)];
    const std::string& name = m.site.name;
    if (!m.storage.layout) return compare_plain(a, again, name, m.site.out, m.site.in);
    const QuantizedMatrix x = in_scheme(unpack(a, *a.weights->weight(name)), m.storage.scheme, name);
    const StoredWeight& w = *again.weights->weight(name);
    if (w.layout.empty()) fail_as_other(name);
    const QuantizedMatrix y = unpack(again, w);
    if (x.codes != y.codes || x.params != y.params) fail_as_other(name);
  });
  for (const PlannedVector& v : plan.vectors) compare_plain(a, again, v.name, 1, v.size);
}

}  // namespace

std::unique_ptr<Publication> begin_repack(const RepackOptions& o, const Artifact& a, const TargetPlan& plan) {
  auto publication = std::make_unique<Publication>(
      o.out, std::vector<Destination>{{"", &repository_of(*plan.choice.target), plan.file_name}});
  publication->check({.model = a.files});
  publication->begin();
  return publication;
}

void publish_repacked(const StagedRepack& staged, const std::function<void(const Artifact&)>& compare_with_source,
                      Repacked& result) {
  const auto& [a, plan, publication, writer] = staged;
  const fs::path& stage = publication.stage();
  const std::vector<fs::path> weights = writer.commit();
  std::vector<fs::path> files = weights;
  for (fs::path& f : repository_of(*plan.choice.target).write_companions({a, plan, weights, stage}))
    files.push_back(std::move(f));
  Artifact again = open_artifact(entrance(plan, stage, weights));
  compare_with_source(again);
  const ModelLocation location = locate_model(a.path.string());
  Report report{.model = location.name, .method = "repack", .parameters = a.parameters()};
  report.repacked_from = a.format;
  report.source = identify(a, location.name, location.repository, location.revision);
  for (const fs::path& f : a.files) report.inputs.push_back(describe_input("model", f));
  std::vector<Measured> measured;
  measured.push_back({std::move(again), plan.choice, files, writer.checksums()});
  report.targets = measure(a, measured, std::nullopt, VerifyMode::runtime, "", stage);
  report.targets[0].plan = plan.hash();
  report.targets[0].remarks = plan.remarks;
  write_text(stage / kCardFile, model_card(report, report.targets[0], plan));
  write_text(stage / kReportFile, shown_json(to_json(report)) + "\n");
  publication.publish();
  for (const fs::path& f : files) result.files.push_back(publication.published(f));
}

Repacked repack(const RepackOptions& o) {
  check_output_folder(o.out, o.force, false);
  const Artifact a = open_packed(o.packed);
  if (repository_of(find_target(a.target)).repacks_in_place) {
    if (!o.dtype.empty())
      fail(ErrorKind::usage, "--dtype is for repositories of safetensors; a GGUF keeps the type of every tensor");
    return repack_gguf(o, a);
  }
  Repacked result{.from = a.format, .choice = choose(o, a)};
  TargetPlan plan = plan_without_loss(o, a, result.choice);
  if (auto remark = other_arithmetic(a, plan)) plan.remarks.push_back(std::move(*remark));
  for (const std::string& remark : plan.remarks) warn(fmt::format("{}: {}", result.choice.text(), remark));
  plan.remarks.insert(plan.remarks.end(), a.remarks.begin(), a.remarks.end());
  complete(plan, a.architecture, a, model_name(o.packed), o.shard_bytes);
  const std::unique_ptr<Publication> publication = begin_repack(o, a, plan);
  const std::unique_ptr<Writer> writer = create_weights(plan, publication->stage());
  write_all(a, plan, *writer);
  for (const PlannedMatrix& m : plan.matrices) result.matrices += m.storage.layout != nullptr;
  publish_repacked(
      {a, plan, *publication, *writer}, [&](const Artifact& again) { compare(a, plan, again); }, result);
  return result;
}

}  // namespace kerf
