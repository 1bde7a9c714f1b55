// Calibration windows of a model on disk.
#include "pipeline/runs/text_windows.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

TEST(ReadCalibration, GivesTheWindowsOfAPlainText) {
  const Artifact model = open_artifact(test::example_dir());
  const std::filesystem::path text = test::example_dir() / "calibration.txt";
  const Windows w = read_calibration(model, {.text = text, .windows = 4, .ctx = 32});
  const Tokenizer tokenizer(model.tokenizer());
  EXPECT_EQ(w.ids, cut_windows(tokenizer.encode(read_text(text), false), model.tokenizer().bos, 32, 4, 0).ids);
}

TEST(ReadCalibration, RefusesWindowsPastTheContextAndModelsWithoutATokenizer) {
  Artifact model = open_artifact(test::example_dir());
  const std::filesystem::path text = test::example_dir() / "calibration.txt";
  const auto kind_of = [&](const CalibrationOptions& o) {
    try {
      read_calibration(model, o);
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::internal;
  };
  EXPECT_EQ(kind_of({.text = text, .ctx = 100000}), ErrorKind::usage);
  EXPECT_EQ(kind_of({.text = test::example_dir() / "nowhere.txt"}), ErrorKind::io);
  model.tokenizer = {};
  EXPECT_EQ(kind_of({.text = text}), ErrorKind::bad_input);
}

}  // namespace
}  // namespace kerf
