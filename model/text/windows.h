// The token sequences that a model is evaluated or calibrated on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kerf {

/// `count` sequences of `length` token ids; a token attends only within its own.
struct Windows {
  int64_t count = 0, length = 0;
  std::vector<int32_t> ids;  // [count, length]
  bool bos = false;          // each begins with the BOS that the model has
  bool documents = false;    // cut from documents back to back, each begun as the tokenizer or its template does
  /// Of each id whether a student learns to predict it: 1 in what assistants say in chats, and in texts. Empty: all.
  std::vector<uint8_t> answers = {};

  int64_t tokens() const { return count * length; }
  /// Whether the token behind token t lies in the same window, and is one of the answers.
  bool learns_after(int64_t t) const {
    return t % length + 1 < length && (answers.empty() || answers[static_cast<size_t>(t + 1)] != 0);
  }
  /// How many do.
  int64_t learned() const;
  std::span<const int32_t> window(int64_t w) const {
    return std::span(ids).subspan(static_cast<size_t>(w * length), static_cast<size_t>(length));
  }
};

/// Cuts the ids of a text (made without special tokens) into consecutive windows of `context` tokens: `bos` and the
/// next context - 1 ids, or `context` ids for models without one. The first begins after `skip` ids; a rest that fills
/// no window is left out. At most `most` windows; 0 means as many as there are. Error usage for a context below 2,
/// bad_input when not even one window can be filled.
Windows cut_windows(std::span<const int32_t> ids, std::optional<int32_t> bos, int64_t context, int64_t most,
                    int64_t skip);

/// The windows of both, one behind the other. REQUIRES: of one length.
Windows joined_windows(Windows, const Windows& behind);
/// Those of these numbers, in their order.
Windows picked_windows(const Windows&, std::span<const int64_t> which);
/// The first `count` of them, and so many evenly spread. REQUIRES: 0 < count <= windows.count.
Windows first_windows(Windows, int64_t count);
Windows spread_windows(const Windows&, int64_t count);
/// How many windows come to at most so many tokens: one at least, and no more than there are.
int64_t windows_of_tokens(const Windows&, int64_t tokens);

/// As llama-imatrix does it: the ids, behind `bos` where there is one, in consecutive chunks of `context`; then `bos`
/// takes the place of the first id of each. Errors as above.
Windows cut_chunks(std::span<const int32_t> ids, std::optional<int32_t> bos, int64_t context, int64_t most);

}  // namespace kerf
