// Tokenizers on one thread: `tokenizer_bench [--benchmark_filter=...]`. Texts and tokenizers come from $KERF_DATA
// (default
// ../shared beside the source); without it, the embedded model's. bench/tokenizer_library.py measures the Hugging Face
// library on the same inputs.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "model/text/tokenizer.h"

namespace fs = std::filesystem;

namespace kerf {
namespace {

/// A text at once, with nothing remembered from before; `lines`: line by line, as a data loader would.
void encode(benchmark::State& state, const fs::path& tokenizer, const fs::path& text, bool lines) {
  const std::string whole = read_text(text);
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin < whole.size();) {
    const size_t end = lines ? std::min(whole.find('\n', begin), whole.size() - 1) + 1 : whole.size();
    parts.push_back(std::string_view(whole).substr(begin, end - begin));
    begin = end;
  }
  const TokenizerSpec spec = read_tokenizer_spec(tokenizer);
  size_t ids = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const Tokenizer fresh(spec);
    state.ResumeTiming();
    ids = 0;
    for (const std::string_view part : parts) ids += fresh.encode(part, false).size();
  }
  state.SetBytesProcessed(static_cast<int64_t>(whole.size()) * static_cast<int64_t>(state.iterations()));
  state.counters["ids"] = static_cast<double>(ids);
}

void load(benchmark::State& state, const fs::path& tokenizer) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::from_directory(tokenizer));
}

void add(const std::string& name, const fs::path& tokenizer, const std::vector<fs::path>& texts) {
  benchmark::RegisterBenchmark(("load/" + name).c_str(), load, tokenizer)->Unit(benchmark::kMillisecond);
  for (const fs::path& text : texts) {
    for (const bool lines : {false, true}) {
      const std::string what = name + "/" + text.stem().string() + (lines ? "/lines" : "/whole");
      benchmark::RegisterBenchmark(what.c_str(), encode, tokenizer, text, lines)->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace kerf

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const fs::path embedded = fs::path("examples") / "tinytales";
  const char* set = std::getenv("KERF_DATA");
  const fs::path data = set && *set ? fs::path(set) : fs::path("..") / "shared";
  if (fs::exists(embedded)) kerf::add("tinytales", embedded, {embedded / "heldout.txt"});
  for (const char* name : {"gpt2", "smollm2", "llama2", "llama3.2", "qwen2.5"}) {
    const fs::path texts = data / "text" / "calibration";
    if (!fs::exists(data / "tokenizers" / name)) continue;
    kerf::add(name, data / "tokenizers" / name,
              {texts / "wiki.utf8", texts / "multilingual.utf8", texts / "code.utf8"});
  }
  benchmark::RunSpecifiedBenchmarks();
}
