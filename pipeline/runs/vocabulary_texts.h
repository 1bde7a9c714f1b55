// The vocabulary that `--prune vocab=` leaves of a model's.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "pipeline/plan/options.h"
#include "prune/request.h"
#include "prune/vocabulary.h"
#include "verify/artifact.h"

namespace kerf {

/// Trims the tokenizer of the model's folder to the texts of vocab=FILE, chats as its template renders them; without
/// one, of vocab=N, to the calibration text. Errors: usage when neither is there, or everything
/// would stay; bad_input for texts that use nothing but what stays anyway; as trim_vocabulary() and the readers
/// of texts say.
TrimmedVocabulary trimmed_vocabulary(const Artifact&, const PruneRequest&, const CalibrationOptions&);

/// For the report: tokens before and after, why they stayed, the length of the texts and of `held_out` ("": none).
nlohmann::ordered_json to_json(const TrimmedVocabulary&, const Artifact& original,
                               const std::filesystem::path& held_out);

}  // namespace kerf
