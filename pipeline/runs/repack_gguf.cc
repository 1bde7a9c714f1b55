// A GGUF file written again: each matrix is unpacked to its numbers and packed from them, and has to come out as it
// was.
#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "formats/gguf.h"
#include "pipeline/repository/repository.h"
#include "pipeline/runs/measure.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/repack.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr int64_t kAtOnce = 1 << 20;  // weights that are unpacked at a time, a byte each

// The files of a split model carry its name and their number.
std::string whole_name(const Artifact& a, const std::string& given) {
  std::string name = model_name(given);
  const auto split = name.find("-00001-of-");
  if (a.files.size() > 1 && split != std::string::npos) name.resize(split);
  return name + ".gguf";
}

FilePlan plan_of(const Reader& reader, uint64_t shard_bytes) {
  FilePlan plan{.shard_bytes = shard_bytes};
  for (const auto& [key, value] : reader.metadata())
    if (!key.starts_with("split.")) plan.metadata.emplace_back(key, value);
  for (const StoredTensor& t : reader.tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
  return plan;
}

// The bytes that hold the numbers of these rows; `rows` of `cols` weights.
std::vector<std::byte> packed_again(const Layout& layout, int64_t rows, int64_t cols,
                                    std::span<const std::byte> bytes) {
  const Scheme scheme = layout.examples().front();
  return std::move(layout.pack(layout.unpack(scheme, rows, cols, std::span(&bytes, 1))).front());
}

// True when the tensor has numbers of codes and parameters, not plain ones.
bool write_tensor(const StoredTensor& t, size_t index, Writer& writer) {
  const Layout* layout = gguf_layout(t.type);
  const int64_t cols = t.shape.empty() ? 0 : t.shape.back();
  if (!layout || cols == 0 || t.bytes.empty()) {
    writer.write(index, 0, t.bytes);
    return false;
  }
  int64_t rows = 1;
  for (size_t d = 0; d + 1 < t.shape.size(); ++d) rows *= t.shape[d];
  const size_t row_bytes = t.bytes.size() / static_cast<size_t>(rows);
  const int64_t panel = std::max<int64_t>(1, kAtOnce / cols);
  for (int64_t begin = 0; begin < rows; begin += panel) {
    const int64_t n = std::min(panel, rows - begin);
    const auto bytes = t.bytes.subspan(static_cast<size_t>(begin) * row_bytes, static_cast<size_t>(n) * row_bytes);
    const std::vector<std::byte> again = packed_again(*layout, n, cols, bytes);
    if (!std::equal(bytes.begin(), bytes.end(), again.begin(), again.end()))
      fail(ErrorKind::unsupported,
           "{} cannot be repacked without loss: among rows {} to {} of {} are bits that no {} of kerf has", t.name,
           begin, begin + n - 1, rows, t.type);
    writer.write(index, static_cast<uint64_t>(begin) * row_bytes, again);
  }
  return true;
}

// Every tensor and key, but for those that say how the file is split.
void compare(const Reader& was, const Reader& is) {
  bool same = was.tensors().size() == is.tensors().size();
  for (size_t i = 0; same && i < was.tensors().size(); ++i) {
    const StoredTensor &x = was.tensors()[i], &y = is.tensors()[i];
    same = x.name == y.name && x.type == y.type && x.shape == y.shape && std::ranges::equal(x.bytes, y.bytes);
  }
  for (const auto& [key, value] : was.metadata()) {
    if (key.starts_with("split.")) continue;
    const MetaValue* again = is.find_metadata(key);
    same = same && again && identical(*again, value);
  }
  if (!same)
    fail(ErrorKind::internal, "{} was read back as another model than was written; nothing was published",
         was.path().string());
}

}  // namespace

Repacked repack_gguf(const RepackOptions& o, const Artifact& a) {
  Repacked result{.from = a.format, .choice = target_of(a)};
  if (o.target != result.choice.target->name() && o.target != result.choice.text())
    fail(ErrorKind::unsupported, "{} is a GGUF file of {}; repack writes its numbers as that, not for {}", o.packed,
         result.choice.text(), o.target);
  const Reader& reader = a.weights->reader();
  const TargetPlan plan{
      .choice = result.choice, .file_name = whole_name(a, o.packed), .file = plan_of(reader, o.shard_bytes)};
  const std::unique_ptr<Publication> publication = begin_repack(o, a, plan);
  const std::unique_ptr<Writer> writer = create_weights(plan, publication->stage());
  std::vector<uint8_t> packed(reader.tensors().size());
  parallel_for(static_cast<int64_t>(packed.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    packed[index] = write_tensor(reader.tensors()[index], index, *writer);
  });
  result.matrices = std::count(packed.begin(), packed.end(), 1);
  publish_repacked(
      {a, plan, *publication, *writer}, [&](const Artifact& again) { compare(reader, again.weights->reader()); },
      result);
  return result;
}

}  // namespace kerf
