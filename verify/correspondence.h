// The file that says how a smaller model lies in the one it was made from, and what verification takes from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "model/arch/architecture.h"
#include "model/arch/correspondence.h"
#include "model/text/windows.h"

namespace kerf {

/// Beside the weights of a packed model that is smaller than its original. docs/correspondence.md describes it.
inline constexpr std::string_view kCorrespondenceFile = "kerf-correspondence.json";

/// That of a packed folder, or of the folder of a file; the identity when there is none. Error bad_input for a file
/// that is damaged or holds lists that do not increase.
Correspondence read_correspondence(const std::filesystem::path& packed);
/// What read_correspondence() would read.
nlohmann::ordered_json to_json(const Correspondence&);

/// A model's shape with the words to call it.
struct NamedShape {
  std::string name;
  const Architecture& architecture;
};

/// Error bad_input, naming both shapes, where the two differ and the correspondence does not say how: number of layers,
/// sizes of axes, their groups and the size of one, vocabulary; or where it names what the original does not have.
void check_correspondence(const Correspondence&, const NamedShape& original, const NamedShape& packed);

/// The same windows in the packed model's ids. Error bad_input, naming the token, when one was not kept.
Windows to_packed_ids(const Correspondence&, const Windows& original, int64_t original_vocab);
/// The other way; always possible. Error bad_input for an id that the packed model does not have.
Windows to_original_ids(const Correspondence&, const Windows& packed);

}  // namespace kerf
