#include "pipeline/plan/pack.h"

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/checked.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "model/run/weights.h"
#include "pipeline/plan/range.h"

namespace kerf {
namespace {

// Weights in one panel, about: their floats (512 KiB) and codes stay in the processor's second cache from the first
// pass to the last, and a panel still costs far more than handing it out.
constexpr int64_t kPanelWeights = 1 << 17;

// The panels of a matrix whose layout packs it as a whole.
struct WholeMatrixBuffer {
  explicit WholeMatrixBuffer(int64_t rows) : missing_rows(rows) {}
  std::once_flag begun;
  QuantizedMatrix matrix;
  std::atomic<int64_t> missing_rows;
};

// Matrices that are quantized in one piece, because their rows share parameters: one, or those of a fused group.
struct SharedScaleGroup {
  struct Member {
    const PlannedMatrix* matrix;
    int64_t first_row;
    Magnitudes* magnitudes;
  };
  const PackJob* job = nullptr;
  std::vector<Member> members = {};
  int64_t rows = 0;
  std::once_flag begun = {};
  std::unique_ptr<float[]> weights = {};
  std::atomic<int64_t> missing_rows = 0;
};

// One matrix of the checkpoint and what each target does with it.
struct MatrixWork {
  const Site* site;
  const InputStatistics* input_statistics;  // nullptr: nothing
  struct Use {
    const PackJob* job;
    const PlannedMatrix* matrix;
    std::unique_ptr<PreparedQuantizer> quantizer = nullptr;  // where it is stored in codes
    std::unique_ptr<WholeMatrixBuffer> gathered = nullptr;   // where the layout packs whole matrices
    SharedScaleGroup* together = nullptr;                    // where rows share parameters
    int64_t first_row = 0;                                   // among those of `together`
    std::unique_ptr<Magnitudes> magnitudes = std::make_unique<Magnitudes>();
  };
  std::vector<Use> uses;
  Mask mask = {};  // of all targets; empty where nothing is pruned
};

struct Panel {
  const MatrixWork* work;
  int64_t begin, end;  // rows of the checkpoint
};

std::vector<std::byte> to_bytes(Dtype type, std::span<const float> values) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, static_cast<int64_t>(values.size()))));
  from_f32(type, values, bytes);
  return bytes;
}

// Rows of the panel in the order of the file. Orders only move rows within a head, and panels hold whole heads.
std::vector<float> reordered(std::span<const float> w, const Panel& panel, std::span<const int64_t> source_row,
                             int64_t cols) {
  std::vector<float> out(w.size());
  for (int64_t r = panel.begin; r < panel.end; ++r)
    std::copy_n(w.data() + (source_row[static_cast<size_t>(r)] - panel.begin) * cols, cols,
                out.data() + (r - panel.begin) * cols);
  return out;
}

void write_parts(const PackJob& job, const PlannedMatrix& m, int64_t row,
                 const std::vector<std::vector<std::byte>>& parts) {
  for (size_t i = 0; i < m.parts.size(); ++i)
    if (!m.parts[i].is_constant())
      job.writer->write(m.file_tensors[i], static_cast<uint64_t>(row) * m.parts[i].row_bytes, parts[i]);
}

// The thread that brings the last rows packs the matrix.
void gather_panel(const MatrixWork::Use& use, int64_t row, const QuantizedMatrix& q) {
  WholeMatrixBuffer& g = *use.gathered;
  std::call_once(g.begun, [&] { g.matrix = allocate(q.scheme, use.matrix->site.out, use.matrix->site.in); });
  const auto place = [&](auto& whole, const auto& part) {
    std::copy(part.begin(), part.end(), whole.begin() + row * static_cast<std::ptrdiff_t>(part.size()) / q.rows);
  };
  place(g.matrix.codes, q.codes);
  for (size_t i = 0; i < q.params.size(); ++i) place(g.matrix.params[i].bytes, q.params[i].bytes);
  if (g.missing_rows.fetch_sub(q.rows) != q.rows) return;
  write_parts(*use.job, *use.matrix, 0, use.matrix->storage.layout->pack(g.matrix));
  g.matrix = {};
}

// What a grid refuses, with the matrix it was asked for.
QuantizedMatrix quantize(const MatrixWork::Use& use, std::span<const float> w, int64_t rows, int64_t cols) {
  try {
    QuantizedMatrix q = use.quantizer->quantize(w, rows, cols);
    check_range(*use.job->plan, *use.matrix, q);
    return q;
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with(use.matrix->site.name)) throw;
    throw Error(e.kind(), fmt::format("{}: {}", use.matrix->site.name, e.what()));
  }
}

// The thread that brings the last rows quantizes and packs all of them.
void collect_panel(const MatrixWork::Use& use, int64_t row, std::span<const float> w) {
  SharedScaleGroup& t = *use.together;
  const int64_t cols = use.matrix->site.in, rows = static_cast<int64_t>(w.size()) / cols;
  std::call_once(t.begun, [&] { t.weights.reset(new float[static_cast<size_t>(t.rows * cols)]); });
  std::copy(w.begin(), w.end(), t.weights.get() + (use.first_row + row) * cols);
  if (t.missing_rows.fetch_sub(rows) != rows) return;
  const std::span<const float> all(t.weights.get(), static_cast<size_t>(t.rows * cols));
  const QuantizedMatrix q = quantize(use, all, t.rows, cols);
  t.weights.reset();
  for (const SharedScaleGroup::Member& m : t.members) {
    const QuantizedMatrix part = rows_of(q, m.first_row, m.first_row + m.matrix->site.out);
    m.magnitudes->add(part);
    write_parts(*t.job, *m.matrix, 0, m.matrix->storage.layout->pack(part));
  }
}

void write_panel(const MatrixWork::Use& use, const Panel& panel, std::span<const float> w, float largest) {
  const PlannedMatrix& m = *use.matrix;
  const int64_t cols = m.site.in;
  check_range(*use.job->plan, m, largest);
  use.magnitudes->add(largest);
  std::vector<float> in_order;
  if (!m.source_row.empty()) {
    in_order = reordered(w, panel, m.source_row, cols);
    w = in_order;
  }
  if (!m.storage.layout) {
    write_parts(*use.job, m, panel.begin, {to_bytes(m.storage.dense, w)});
    return;
  }
  if (use.together) {
    collect_panel(use, panel.begin, w);
    return;
  }
  const QuantizedMatrix q = quantize(use, w, panel.end - panel.begin, cols);
  use.magnitudes->add(q);
  if (use.gathered)
    gather_panel(use, panel.begin, q);
  else
    write_parts(*use.job, m, panel.begin, m.storage.layout->pack(q));
}

void run_panel(const Panel& panel, const TensorSource& source) {
  const Site& site = *panel.work->site;
  const auto n = static_cast<size_t>((panel.end - panel.begin) * site.in);
  const auto buffer = std::make_unique_for_overwrite<float[]>(n);
  const std::span<float> w(buffer.get(), n);
  source.read(*source.find(site.name), panel.begin, w);
  const float largest = largest_magnitude(w);
  if (!std::isfinite(largest)) check_finite(w, site.name, panel.begin, site.in);  // says where
  if (const std::vector<uint8_t>& zero = panel.work->mask.zero; !zero.empty())
    for (size_t i = 0, at = static_cast<size_t>(panel.begin * site.in); i < n; ++i)
      if (zero[at + i] != 0) w[i] = 0.0f;
  for (const MatrixWork::Use& use : panel.work->uses) write_panel(use, panel, w, largest);
}

// Zeros that are put into the weights stay zeros: whatever is rounded to nearest on a grid with a zero takes its code.
void choose_masks(const Pruner& pruner, const TensorSource& source, std::vector<MatrixWork>& block) {
  for (MatrixWork& work : block) {
    const std::optional<Sparsity>& sparsity = work.uses[0].matrix->sparsity;
    if (!sparsity) continue;
    const Site& site = *work.site;
    std::vector<float> w(static_cast<size_t>(site.out * site.in));
    source.read(*source.find(site.name), 0, w);
    check_finite(w, site.name, 0, site.in);
    work.mask = pruner.prepare(nullptr, *sparsity, 0)->prune(w, site.out, site.in).mask;
  }
}

void prepare_quantizers(const Quantizer& quantizer, std::vector<MatrixWork>& block) {
  for (MatrixWork& work : block)
    for (MatrixWork::Use& use : work.uses)
      if (use.matrix->storage.layout)
        use.quantizer = quantizer.prepare(work.input_statistics, use.matrix->storage.scheme, {});
}

// Decides what is gathered before it is packed, and what is quantized together.
std::vector<std::unique_ptr<SharedScaleGroup>> prepare_gathering(std::vector<MatrixWork>& block) {
  std::vector<std::unique_ptr<SharedScaleGroup>> all;
  std::map<std::pair<const PackJob*, std::string>, SharedScaleGroup*> fused;
  for (MatrixWork& work : block)
    for (MatrixWork::Use& use : work.uses) {
      const Storage& storage = use.matrix->storage;
      if (!storage.layout) continue;
      if (rows_together(storage.scheme) == 1) {
        if (storage.layout->packs_whole_matrices(storage.scheme))
          use.gathered = std::make_unique<WholeMatrixBuffer>(work.site->out);
        continue;
      }
      SharedScaleGroup* t = nullptr;
      SharedScaleGroup*& group =
          storage.fused_scale && !work.site->fused.empty() ? fused[{use.job, work.site->fused}] : t;
      if (!group) group = all.emplace_back(new SharedScaleGroup{.job = use.job}).get();
      use.together = group;
      use.first_row = group->rows;
      group->members.push_back({use.matrix, group->rows, use.magnitudes.get()});
      group->rows += work.site->out;
      group->missing_rows = group->rows;
    }
  return all;
}

// Whole heads where a target wants their rows in another order.
int64_t panel_rows(const MatrixWork& work) {
  int64_t unit = 1;
  for (const MatrixWork::Use& use : work.uses) unit = std::max(unit, use.matrix->row_group);
  return std::max<int64_t>(1, kPanelWeights / work.site->in / unit) * unit;
}

}  // namespace

QuantizedMatrix reordered(const QuantizedMatrix& q, std::span<const int64_t> source_row) {
  QuantizedMatrix out = q;
  const auto move_rows = [&](auto& to, const auto& from) {
    const auto row = static_cast<std::ptrdiff_t>(from.size()) / q.rows;
    for (int64_t r = 0; r < q.rows; ++r)
      std::copy_n(from.begin() + source_row[static_cast<size_t>(r)] * row, row, to.begin() + r * row);
  };
  move_rows(out.codes, q.codes);
  for (size_t i = 0; i < q.params.size(); ++i) move_rows(out.params[i].bytes, q.params[i].bytes);
  if (q.mask) move_rows(out.mask->zero, q.mask->zero);
  return out;
}

void write_matrix(const PackJob& job, const PlannedMatrix& m, const QuantizedMatrix& q) {
  check_range(*job.plan, m, q);
  const Layout& layout = *m.storage.layout;
  write_parts(job, m, 0, m.source_row.empty() ? layout.pack(q) : layout.pack(reordered(q, m.source_row)));
}

void write_rows(const PackJob& job, const PlannedMatrix& m, int64_t row, const QuantizedMatrix& q) {
  check_range(*job.plan, m, q);
  write_parts(job, m, row, m.storage.layout->pack(q));
}

void write_matrix(const PackJob& job, const PlannedMatrix& m, std::span<const float> w) {
  const std::vector<float> in_order =
      m.source_row.empty() ? std::vector<float>() : reordered(w, {nullptr, 0, m.site.out}, m.source_row, m.site.in);
  check_range(*job.plan, m, largest_magnitude(w));
  write_parts(job, m, 0, {to_bytes(m.storage.dense, in_order.empty() ? w : in_order)});
}

void write_vectors(const TensorSource& source, const PackJob& job, const Replaced& replaced) {
  for (const PlannedVector& v : job.plan->vectors) {
    std::vector<float> values(static_cast<size_t>(v.size));
    const auto other = replaced.find(v.name);
    if (other != replaced.end() && other->second.size() != values.size())
      fail(ErrorKind::bad_input, "{} was saved with {} numbers, and the model has {}", v.name, other->second.size(),
           values.size());
    // Of what the file and the source add to a stored number, only the difference: what is unchanged stays as it is.
    const TensorInfo& info = *source.find(v.name);
    float shift = -v.plus;
    if (other != replaced.end()) {
      values = other->second;
    } else {
      source.read(info, 0, values);
      shift += info.plus;
    }
    if (shift != 0)
      for (float& x : values) x += shift;
    check_finite(values, v.name, 0, 1);
    if (!v.source_row.empty()) {
      const std::vector<float> original = values;
      for (size_t i = 0; i < values.size(); ++i) values[i] = original[static_cast<size_t>(v.source_row[i])];
    }
    check_range(*job.plan, v, values);
    job.writer->write(v.file_tensor, 0, to_bytes(v.dtype, values));
  }
  for (const PlannedConstant& c : job.plan->constants) job.writer->write(c.file_tensor, 0, c.bytes);
}

void pack_matrices(const Architecture&, const TensorSource& source, const Quantizer& quantizer,
                   std::span<const PackJob> jobs, int64_t layers, const SiteStatistics& input_statistics,
                   const std::function<bool(const PlannedMatrix&)>& apart, const Pruner* pruner) {
  // Block by block, the vocabulary's matrices (layer -1) first.
  std::vector<std::vector<MatrixWork>> blocks(static_cast<size_t>(layers + 1));
  std::unordered_map<std::string, size_t> position;
  for (const PackJob& job : jobs)
    for (const PlannedMatrix& m : job.plan->matrices) {
      if (m.site.layer >= layers || (apart && apart(m))) continue;
      auto& block = blocks[static_cast<size_t>(m.site.layer + 1)];
      const auto [at, is_new] = position.emplace(m.site.name, block.size());
      const auto inputs = input_statistics.find(m.site.name);
      if (is_new) block.push_back({&m.site, inputs == input_statistics.end() ? nullptr : &inputs->second, {}});
      block[at->second].uses.push_back({&job, &m});
    }

  Progress progress("packing block", static_cast<int64_t>(blocks.size()));
  for (auto& block : blocks) {
    std::vector<Panel> panels;
    const auto together = prepare_gathering(block);
    prepare_quantizers(quantizer, block);
    if (pruner) choose_masks(*pruner, source, block);
    for (MatrixWork& work : block) {
      const int64_t rows = panel_rows(work);
      for (int64_t begin = 0; begin < work.site->out; begin += rows)
        panels.push_back({&work, begin, std::min(work.site->out, begin + rows)});
    }
    parallel_for(static_cast<int64_t>(panels.size()),
                 [&](int64_t i) { run_panel(panels[static_cast<size_t>(i)], source); });
    for (MatrixWork& work : block) {
      for (const MatrixWork::Use& use : work.uses) say(*use.job, use.magnitudes->remark(*use.job->plan, *use.matrix));
      work.uses.clear();
      work.mask = {};
    }
    progress.advance();
  }
}

void pack(const Architecture& a, const TensorSource& source, const Quantizer& quantizer, std::span<const PackJob> jobs,
          const SiteStatistics& input_statistics, const Pruner* pruner) {
  // Vectors first: then the matrices, in the order of the file, leave no gap in the writer's running checksum.
  for (const PackJob& job : jobs) write_vectors(source, job, {});
  pack_matrices(a, source, quantizer, jobs, a.layers(), input_statistics, {}, pruner);
}

}  // namespace kerf
