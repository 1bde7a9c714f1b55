#include "core/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "core/error.h"
#include "core/file.h"

namespace kerf {

std::string sha256_of(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::array<unsigned char, 32> digest;
  if (EVP_Digest(file.bytes().data(), file.bytes().size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1)
    fail(ErrorKind::internal, "the checksum of {} could not be computed", path.string());
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace kerf
