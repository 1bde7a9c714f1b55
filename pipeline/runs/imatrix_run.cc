#include "pipeline/runs/imatrix_run.h"

#include "core/error.h"
#include "core/log.h"
#include "model/text/text_file.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/text_windows.h"

namespace kerf {

Imatrix imatrix_run(const ImatrixOptions& o) {
  if (o.calib.text.empty()) fail(ErrorKind::usage, "an importance matrix needs a text; give --calib FILE");
  const Artifact a = open_artifact(resolve_model(o.model));
  refuse_inputs(o.out, {.model = a.files, .others = std::span(&o.calib.text, 1)});
  const Windows windows = read_imatrix_chunks(a, o.calib);
  for (const std::string& remark : remarks_on_windows({}, nullptr, o.calib, &windows)) warn(remark);
  Imatrix m = measure_imatrix(a, windows);
  m.datasets.push_back(text_name(o.calib.text));
  write_imatrix(o.out, m, o.format);
  return m;
}

}  // namespace kerf
