// What every container in the table must do, and how one is chosen.
#include "formats/container.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "tests/formats/writing.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using enum ErrorKind;

class EveryContainer : public testing::TestWithParam<const Container*> {
 protected:
  const Container& container() const { return *GetParam(); }
  fs::path file() const { return dir_ / fs::path("model." + std::string(container().name)); }
  TempDir dir_;
};

TEST_P(EveryContainer, ReadsWhatItWrote) {
  const FilePlan p = plan();
  const auto w = container().create(file(), p);
  // Backwards, in pieces.
  for (size_t i = p.tensors.size(); i-- > 0;) {
    const std::string all = content(i, p.tensors[i].bytes);
    for (size_t end = all.size(); end > 0;) {
      const size_t begin = end - std::min<size_t>(end, 1000);
      w->write(i, begin, as_bytes(std::string_view(all).substr(begin, end - begin)));
      end = begin;
    }
  }
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{partial_name(file()).filename()});
  EXPECT_EQ(w->commit(), std::vector<fs::path>{file()});
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
  EXPECT_EQ(w->total_bytes(), fs::file_size(file()));

  const auto r = open_container(file());
  ASSERT_EQ(r->tensors().size(), p.tensors.size());
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    const StoredTensor* t = r->find(p.tensors[i].name);
    ASSERT_NE(t, nullptr) << p.tensors[i].name;
    EXPECT_EQ(t->type, p.tensors[i].type);
    EXPECT_EQ(t->shape, p.tensors[i].shape);
    EXPECT_EQ(text_of(t->bytes), content(i, p.tensors[i].bytes));
  }
  EXPECT_EQ(r->metadata(), p.metadata);
  EXPECT_EQ(r->path(), file());
}

TEST_P(EveryContainer, WritesTheSameBytesFromAnyThreadInAnyOrder) {
  const FilePlan p = plan();
  const auto bytes_after = [&](auto&& writes) {
    const auto w = container().create(file(), p);
    writes(*w);
    w->commit();
    return read_text(file());
  };
  const std::string one = bytes_after([&](Writer& w) { fill(w, p); });
  const std::string many = bytes_after([&](Writer& w) {
    std::vector<std::thread> threads;
    for (size_t k = 0; k < 4; ++k)
      threads.emplace_back([&, k] {
        for (size_t i = p.tensors.size(); i-- > 0;) {
          const std::string all = content(i, p.tensors[i].bytes);
          for (size_t at = k * 100; at < all.size(); at += 400)
            w.write(i, at, as_bytes(std::string_view(all).substr(at, 100)));
        }
      });
    for (std::thread& t : threads) t.join();
  });
  EXPECT_EQ(one, many);
}

TEST_P(EveryContainer, HoldsNoTensorsAtAll) {
  container().create(file(), {})->commit();
  EXPECT_TRUE(open_container(file())->tensors().empty());
}

TEST_P(EveryContainer, RefusesToCommitAnIncompleteTensor) {
  put_file(file(), "old");
  const FilePlan p = plan();
  {
    const auto w = container().create(file(), p);
    fill(*w, p);
    expect_error(internal, {"'a'", "has 28"}, [&] { w->write(1, 20, as_bytes("123456789")); });
    expect_error(internal, {"'a'", "has 28"}, [&] { w->write(1, ~uint64_t{0}, as_bytes("12")); });
    expect_error(internal, {"tensor 6"}, [&] { w->write(6, 0, as_bytes("1")); });
    EXPECT_EQ(read_text(file()), "old");
  }
  {
    const auto w = container().create(file(), p);
    for (size_t i = 0; i + 1 < p.tensors.size(); ++i) w->write(i, 0, as_bytes(content(i, p.tensors[i].bytes)));
    w->write(5, 0, as_bytes("12"));
    expect_error(internal, {"2 of the 3 bytes", "'c'"}, [&] { w->commit(); });
  }
  EXPECT_EQ(read_text(file()), "old");
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
}

TEST_P(EveryContainer, RefusesPlansThatContradictThemselves) {
  const auto refuses = [&](ErrorKind kind, std::initializer_list<std::string_view> words, FilePlan p) {
    expect_error(kind, words, [&] { container().create(file(), p); });
    EXPECT_TRUE(names_in(dir_.path()).empty());
  };
  refuses(internal, {"'a'", "needs 8 bytes and was planned with 9"}, {.tensors = {{"a", "F32", {2}, 9}}});
  refuses(internal, {"'a'", "twice"}, {.tensors = {{"a", "F32", {0}, 0}, {"a", "F32", {0}, 0}}});
  refuses(internal, {"'a'", "'F33'"}, {.tensors = {{"a", "F33", {0}, 0}}});
  refuses(internal, {"'k'", "twice"}, {.metadata = {{"k", std::string()}, {"k", std::string()}}});
  refuses(bad_input, {"not UTF-8"}, {.tensors = {{"\xff", "F32", {0}, 0}}});
  refuses(bad_input, {"not UTF-8"}, {.metadata = {{"k", std::string("\xff")}}});
  refuses(bad_input, {"not UTF-8"}, {.metadata = {{"\xff", std::string()}}});
  refuses(bad_input, {"'a'", "overflows"}, {.tensors = {{"a", "F32", {int64_t{1} << 62, 4}, 0}}});
  refuses(bad_input, {"'a'", "negative dimension -1"}, {.tensors = {{"a", "F32", {-1}, 0}}});
}

TEST_P(EveryContainer, NamesAFolderThatIsNotThere) {
  expect_error(io, {"nowhere"}, [&] { container().create(dir_ / "nowhere" / file().filename(), plan()); });
}

// The limit hits the header, the tensors, the padding at the end: whatever fails, the old file stays and no other.
TEST_P(EveryContainer, LeavesTheOldFileWhenAWriteFails) {
  std::signal(SIGXFSZ, SIG_IGN);
  const FilePlan p = plan();
  put_file(file(), "old");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const uint64_t whole = [&] { return container().create(file(), p)->total_bytes(); }();
  for (const uint64_t limit : {uint64_t{0}, uint64_t{10}, uint64_t{600}, uint64_t{5000}, whole / 2, whole - 1}) {
    const rlimit small{.rlim_cur = limit, .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_error(io, {file().string(), "File too large"}, [&] {
      const auto w = container().create(file(), p);
      fill(*w, p);
      w->commit();
    });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(read_text(file()), "old");
    EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
  }
  const rlimit enough{.rlim_cur = whole, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &enough), 0);
  const auto w = container().create(file(), p);
  fill(*w, p);
  w->commit();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(open_container(file())->tensors().size(), p.tensors.size());
}

INSTANTIATE_TEST_SUITE_P(, EveryContainer, testing::ValuesIn(all_containers().begin(), all_containers().end()),
                         [](const auto& i) { return std::string(i.param->name); });

// Choosing.

TEST(MetaValue, IsIdenticalToItselfThoughItHoldsANan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const MetaValue number = nan, array = MetaArray{std::vector<float>{1, nan}},
                  other = MetaArray{std::vector<float>{2, nan}};
  EXPECT_TRUE(identical(number, number));
  EXPECT_TRUE(identical(array, array));
  EXPECT_FALSE(identical(array, other));
  EXPECT_FALSE(identical(array, number));
  EXPECT_FALSE(identical(MetaValue(1.0F), MetaValue(1.0)));
  EXPECT_FALSE(identical(MetaValue(0.0F), MetaValue(-0.0F)));
  EXPECT_TRUE(identical(MetaValue(std::string("x")), MetaValue(std::string("x"))));
}

TEST(OpenContainer, GoesByContentWhereTheNameSaysNothing) {
  TempDir dir;
  put_file(dir / "a", GgufFile().bytes());
  put_file(dir / "b", safetensors_bytes("{}", ""));
  EXPECT_TRUE(open_container(dir / "a")->tensors().empty());
  EXPECT_TRUE(open_container(dir / "b")->tensors().empty());
}

TEST(OpenContainer, LetsTheContainerOfTheNameExplainDamage) {
  TempDir dir;
  put_file(dir / "a.gguf", "");
  expect_error(bad_input, {"a.gguf", "cut short"}, [&] { open_container(dir / "a.gguf"); });
  put_file(dir / "a.safetensors", "");
  expect_error(bad_input, {"a.safetensors has 0 bytes"}, [&] { open_container(dir / "a.safetensors"); });
}

TEST(OpenContainer, SaysWhatItKnowsForAnythingElse) {
  TempDir dir;
  expect_error(io, {"no file or folder", "nowhere"}, [&] { open_container(dir / "nowhere"); });
  expect_error(bad_input, {"is neither a GGUF file nor a safetensors"}, [&] { open_container(dir.path()); });
  for (const char* text : {"", "x", "PK\3\4 something else", "{\"a\": 1}"}) {
    put_file(dir / "x.bin", text);
    expect_error(bad_input, {"x.bin is neither"}, [&] { open_container(dir / "x.bin"); });
  }
  expect_error(usage, {"'zip'", "gguf, safetensors"}, [] { find_container("zip"); });
  expect_error(io, {}, [] { open_container("/dev/null/x"); });
  expect_error(bad_input, {}, [] { open_container("/dev/full"); });
}

}  // namespace
}  // namespace kerf::test
