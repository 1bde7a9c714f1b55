#include "core/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "core/error.h"
#include "core/file.h"

namespace kerf {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (!state_->context || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1)
    fail(ErrorKind::internal, "OpenSSL cannot begin a SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1)
    fail(ErrorKind::internal, "OpenSSL cannot continue a SHA-256");
}

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest;
  if (EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) != 1)
    fail(ErrorKind::internal, "OpenSSL cannot finish a SHA-256");
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_of_text(std::string_view text) {
  Sha256 sum;
  sum.update(std::as_bytes(std::span(text)));
  return sum.finish();
}

std::string sha256_of(const std::filesystem::path& path) {
  const MappedFile file(path);
  Sha256 sum;
  sum.update(file.bytes());
  return sum.finish();
}

void RunningSha256::wrote(uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  std::unique_lock lock(guard_);
  waiting_.emplace(offset, offset + bytes.size());
  if (busy_) return;
  busy_ = true;
  for (auto next = waiting_.find(hashed_); next != waiting_.end(); next = waiting_.find(hashed_)) {
    const auto [begin, end] = *next;
    waiting_.erase(next);
    lock.unlock();
    if (begin == offset)
      sum_.update(bytes);
    else
      hash_back(begin, end);
    lock.lock();
    hashed_ = end;
  }
  busy_ = false;
}

void RunningSha256::hash_back(uint64_t begin, uint64_t end) {
  std::array<std::byte, 1 << 16> piece;
  while (begin < end) {
    const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), end - begin));
    read_back_(begin, part);
    sum_.update(part);
    begin += part.size();
  }
}

std::string RunningSha256::finish(uint64_t size) {
  if (hashed_ != size || !waiting_.empty())
    fail(ErrorKind::internal, "{} bytes of a file were written without a gap, not its {}", hashed_, size);
  return sum_.finish();
}

}  // namespace kerf
