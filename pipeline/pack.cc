#include "pipeline/pack.h"

#include <cmath>
#include <unordered_map>

#include "core/checked.h"
#include "core/log.h"
#include "core/parallel.h"
#include "model/weights.h"

namespace kerf {
namespace {

// Weights in one panel: large enough that a panel's cost hides the hand-out of work, small enough for caches and
// memory.
constexpr int64_t kPanelWeights = 1 << 20;

// One matrix of the checkpoint and what each target does with it.
struct MatrixWork {
  const Site* site;
  struct Use {
    const PackJob* job;
    const PlannedMatrix* matrix;
  };
  std::vector<Use> uses;
};

struct Panel {
  const MatrixWork* work;
  int64_t begin, end;  // rows of the checkpoint
};

std::vector<std::byte> to_bytes(Dtype type, std::span<const float> values, std::string_view name) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, static_cast<int64_t>(values.size()))));
  from_f32(type, values, bytes);
  if (type != Dtype::f16) return bytes;
  for (const float v : values)
    if (std::abs(v) >= 65520.0f)  // rounds to infinity
      fail(ErrorKind::numerical, "{} holds {}, which does not fit F16; choose BF16 or F32", name, v);
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

void write_panel(const MatrixWork::Use& use, const Panel& panel, std::span<const float> w, const Quantizer& quantizer) {
  const PlannedMatrix& m = *use.matrix;
  const int64_t cols = m.site.in;
  std::vector<float> in_order;
  if (!m.source_row.empty()) {
    in_order = reordered(w, panel, m.source_row, cols);
    w = in_order;
  }
  std::vector<std::vector<std::byte>> parts;
  if (m.storage.layout)
    parts = m.storage.layout->pack(quantizer.quantize(w, panel.end - panel.begin, cols, m.storage.scheme, {}));
  else
    parts = {to_bytes(m.storage.dense, w, m.site.name)};
  for (size_t i = 0; i < m.parts.size(); ++i)
    if (m.parts[i].row_bytes)
      use.job->writer->write(m.file_tensors[i], static_cast<uint64_t>(panel.begin) * m.parts[i].row_bytes, parts[i]);
}

void run_panel(const Panel& panel, const TensorSource& source, const Quantizer& quantizer) {
  const Site& site = *panel.work->site;
  const auto n = static_cast<size_t>((panel.end - panel.begin) * site.in);
  const auto buffer = std::make_unique_for_overwrite<float[]>(n);
  const std::span<float> w(buffer.get(), n);
  source.read(*source.find(site.name), panel.begin, w);
  check_finite(w, site.name, panel.begin, site.in);
  for (const MatrixWork::Use& use : panel.work->uses) write_panel(use, panel, w, quantizer);
}

void write_vectors(const TensorSource& source, const PackJob& job) {
  for (const PlannedVector& v : job.plan->vectors) {
    std::vector<float> values(static_cast<size_t>(v.size));
    source.read(*source.find(v.name), 0, values);
    check_finite(values, v.name, 0, 1);
    if (!v.source_row.empty()) {
      const std::vector<float> original = values;
      for (size_t i = 0; i < values.size(); ++i) values[i] = original[static_cast<size_t>(v.source_row[i])];
    }
    job.writer->write(v.file_tensor, 0, to_bytes(v.dtype, values, v.name));
  }
  for (const PlannedConstant& c : job.plan->constants) job.writer->write(c.file_tensor, 0, c.bytes);
}

}  // namespace

void pack(const Architecture& a, const TensorSource& source, const Quantizer& quantizer,
          std::span<const PackJob> jobs) {
  // Block by block, the vocabulary's matrices (layer -1) first.
  std::vector<std::vector<MatrixWork>> blocks(static_cast<size_t>(a.layers + 1));
  std::unordered_map<std::string, size_t> position;
  for (const PackJob& job : jobs)
    for (const PlannedMatrix& m : job.plan->matrices) {
      auto& block = blocks[static_cast<size_t>(m.site.layer + 1)];
      const auto [at, is_new] = position.emplace(m.site.name, block.size());
      if (is_new) block.push_back({&m.site, {}});
      block[at->second].uses.push_back({&job, &m});
    }

  Progress progress("packing block", static_cast<int64_t>(blocks.size()));
  for (const auto& block : blocks) {
    std::vector<Panel> panels;
    for (const MatrixWork& work : block) {
      const int64_t rows = std::max<int64_t>(1, kPanelWeights / work.site->in / a.head_dim) * a.head_dim;
      for (int64_t begin = 0; begin < work.site->out; begin += rows)
        panels.push_back({&work, begin, std::min(work.site->out, begin + rows)});
    }
    parallel_for(static_cast<int64_t>(panels.size()),
                 [&](int64_t i) { run_panel(panels[static_cast<size_t>(i)], source, quantizer); });
    progress.advance();
  }
  for (const PackJob& job : jobs) write_vectors(source, job);
}

}  // namespace kerf
