#include "pipeline/runs/imatrix_run.h"

#include "core/error.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {

Imatrix imatrix_run(const ImatrixOptions& o) {
  if (o.calib.text.empty()) fail(ErrorKind::usage, "an importance matrix needs a text; give --calib FILE");
  const Artifact a = open_artifact(resolve_model(o.model));
  refuse_inputs(o.out, {.model = a.files, .others = std::span(&o.calib.text, 1)});
  Imatrix m = measure_imatrix(a, read_imatrix_chunks(a, o.calib));
  m.datasets.push_back(o.calib.text.string());
  write_imatrix(o.out, m, o.format);
  return m;
}

}  // namespace kerf
