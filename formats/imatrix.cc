// A file that begins like GGUF is read by its container; of any other, every length is held against what is left.
#include "formats/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "core/file.h"
#include "core/stand_in.h"
#include "formats/container.h"
#include "formats/gguf.h"
#include "formats/text.h"

namespace kerf {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr const char *kDatasets = "imatrix.datasets", *kChunks = "imatrix.chunk_count",
                     *kChunkTokens = "imatrix.chunk_size";
constexpr size_t kMaxName = 1 << 16;

void check_entry(const std::string& file, std::string_view name, const ImatrixEntry& e) {
  if (e.count < 0)
    fail(ErrorKind::bad_input, "{}: {} was computed from {} tokens; compute the importance matrix again", file,
         in_quotes(name), e.count);
  for (size_t c = 0; c < e.sums.size(); ++c)
    if (!std::isfinite(e.sums[c]) || e.sums[c] < 0)
      fail(ErrorKind::bad_input,
           "{}: {} has {} for channel {}, which is no sum of squares; compute the importance matrix again", file,
           in_quotes(name), e.sums[c], c);
}

class LegacyReader {
 public:
  LegacyReader(std::span<const std::byte> file, std::string path) : file_(file), left_(file), path_(std::move(path)) {}

  Imatrix read() {
    Imatrix m;
    const int32_t entries = number("the number of entries");
    // Each has a name, two numbers and a sum.
    if (entries < 1 || static_cast<size_t>(entries) > left_.size() / 16) {
      refuse_stand_in(path_, "no importance matrix", file_);
      fail(ErrorKind::bad_input,
           "{} is no importance matrix: it does not begin with \"GGUF\", and as the older format it would have {} "
           "entries in {} bytes",
           path_, entries, left_.size());
    }
    for (int32_t i = 0; i < entries; ++i) {
      const std::string name = text(fmt::format("the name of entry {}", i));
      if (name.empty()) fail(ErrorKind::bad_input, "{}: entry {} has no name", path_, i);
      ImatrixEntry e{.sums = {}, .count = number(name)};
      const int32_t channels = number(name);
      if (channels < 1 || static_cast<size_t>(channels) > left_.size() / sizeof(float))
        fail(ErrorKind::bad_input, "{}: {} claims {} channels, and {} bytes are left", path_, in_quotes(name), channels,
             left_.size());
      e.sums.resize(static_cast<size_t>(channels));
      std::memcpy(e.sums.data(), take(e.sums.size() * sizeof(float), name).data(), e.sums.size() * sizeof(float));
      check_entry(path_, name, e);
      if (!m.entries.emplace(name, std::move(e)).second)
        fail(ErrorKind::bad_input, "{} has the entry {} twice", path_, in_quotes(name));
    }
    if (!left_.empty()) m.chunks = number("the number of chunks");
    if (!left_.empty()) m.datasets.push_back(text("the name of the text"));
    if (!left_.empty()) fail(ErrorKind::bad_input, "{}: {} bytes at the end belong to nothing", path_, left_.size());
    return m;
  }

 private:
  std::span<const std::byte> take(size_t n, std::string_view what) {
    if (n > left_.size())
      fail(ErrorKind::bad_input, "{}: {} needs {} bytes, and {} are left; the file is cut short or damaged", path_,
           in_quotes(what), n, left_.size());
    const auto bytes = left_.first(n);
    left_ = left_.subspan(n);
    return bytes;
  }
  int32_t number(std::string_view what) {
    int32_t n;
    std::memcpy(&n, take(sizeof n, what).data(), sizeof n);
    return n;
  }
  std::string text(std::string_view what) {
    const int32_t length = number(what);
    if (length < 0 || static_cast<size_t>(length) > kMaxName)
      fail(ErrorKind::bad_input, "{}: {} claims {} bytes; at most {} are allowed", path_, what, length, kMaxName);
    const auto bytes = take(static_cast<size_t>(length), what);
    std::string s(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (first_invalid_utf8(s)) fail(ErrorKind::bad_input, "{}: {} is not UTF-8: {}", path_, what, in_quotes(s));
    return s;
  }

  std::span<const std::byte> file_, left_;
  std::string path_;
};

std::vector<float> floats_of(const std::string& file, const StoredTensor& t) {
  if (t.type != "F32")
    fail(ErrorKind::bad_input, "{}: {} has the type {}; sums and counts are F32", file, in_quotes(t.name), t.type);
  std::vector<float> values(t.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  return values;
}

int64_t count_of(const std::string& file, const StoredTensor& t) {
  const std::vector<float> counts = floats_of(file, t);
  if (counts.size() != 1)
    fail(ErrorKind::unsupported,
         "{}: {} has {} numbers, one per expert; kerf reads importance matrices of dense models", file,
         in_quotes(t.name), counts.size());
  constexpr float kMost = 0x1p62f;
  if (!(counts[0] >= 0 && counts[0] <= kMost))
    fail(ErrorKind::bad_input, "{}: {} is {}, which is no number of tokens", file, in_quotes(t.name), counts[0]);
  return std::llround(counts[0]);
}

Imatrix read_gguf(const std::filesystem::path& path) {
  const std::string file = path.string();
  const std::unique_ptr<Reader> reader = open_gguf(path);
  Imatrix m;
  for (const StoredTensor& t : reader->tensors()) {
    if (!t.name.ends_with(kSums)) continue;
    const std::string name = t.name.substr(0, t.name.size() - kSums.size());
    const StoredTensor* counts = reader->find(name + std::string(kCounts));
    if (!counts) fail(ErrorKind::bad_input, "{} has {}, but no counts for it", file, in_quotes(t.name));
    ImatrixEntry e{.sums = floats_of(file, t), .count = count_of(file, *counts)};
    check_entry(file, name, e);
    m.entries.emplace(name, std::move(e));
  }
  if (m.entries.empty())
    fail(ErrorKind::bad_input,
         "{} is a GGUF file, but no importance matrix: no tensor of it is called like "
         "'blk.0.attn_q.weight{}'",
         file, kSums);
  m.chunks = reader->get_integer(kChunks).value_or(0);
  m.chunk_tokens = reader->get_integer(kChunkTokens).value_or(0);
  if (const auto* names = reader->get_array<std::string>(kDatasets)) m.datasets = *names;
  return m;
}

void write_gguf(const std::filesystem::path& path, const Imatrix& m) {
  FilePlan plan;
  plan.metadata = {{"general.type", std::string("imatrix")},
                   {kDatasets, MetaArray{m.datasets}},
                   {kChunks, checked_cast<uint32_t>(m.chunks, kChunks)},
                   {kChunkTokens, checked_cast<uint32_t>(m.chunk_tokens, kChunkTokens)}};
  for (const auto& [name, e] : m.entries) {
    const auto channels = static_cast<int64_t>(e.sums.size());
    plan.tensors.push_back({name + std::string(kSums), "F32", {1, channels}, e.sums.size() * sizeof(float)});
    plan.tensors.push_back({name + std::string(kCounts), "F32", {1, 1}, sizeof(float)});
  }
  const std::unique_ptr<Writer> writer = create_gguf(path, plan);
  size_t tensor = 0;
  for (const auto& [name, e] : m.entries) {
    const auto count = static_cast<float>(e.count);
    writer->write(tensor++, 0, std::as_bytes(std::span(e.sums)));
    writer->write(tensor++, 0, std::as_bytes(std::span(&count, 1)));
  }
  writer->commit();
}

void put(std::string& out, int64_t n, std::string_view what) {
  const auto v = checked_cast<int32_t>(n, what);
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}
void put(std::string& out, std::string_view s) {
  put(out, static_cast<int64_t>(s.size()), s);
  out += s;
}

void write_legacy(const std::filesystem::path& path, const Imatrix& m) {
  std::string out;
  put(out, static_cast<int64_t>(m.entries.size()), "entries");
  for (const auto& [name, e] : m.entries) {
    const int64_t calls = ceil_div(e.count, std::max<int64_t>(1, m.chunk_tokens));
    put(out, name);
    put(out, calls, name);
    put(out, static_cast<int64_t>(e.sums.size()), name);
    for (const float sum : e.sums) {
      const float scaled = e.count ? sum / static_cast<float>(e.count) * static_cast<float>(calls) : 0.0f;
      out.append(reinterpret_cast<const char*>(&scaled), sizeof scaled);
    }
  }
  put(out, m.chunks, "chunks");
  put(out, m.datasets.empty() ? std::string_view() : std::string_view(m.datasets.back()));
  write_text(path, out);
}

}  // namespace

Imatrix read_imatrix(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0) return read_gguf(path);
  return LegacyReader(bytes, path.string()).read();
}

void write_imatrix(const std::filesystem::path& path, const Imatrix& m, ImatrixFormat format) {
  if (m.entries.empty()) fail(ErrorKind::internal, "an importance matrix without entries was to be written");
  if (format == ImatrixFormat::gguf)
    write_gguf(path, m);
  else
    write_legacy(path, m);
}

}  // namespace kerf
