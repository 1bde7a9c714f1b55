// Event-wise JSON reading for hostile text: nothing is built that the handler did not ask for, so a document costs no
// more memory than the handler keeps.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace kerf {

/// A handler that refuses everything; a derived class lets pass what its document may contain. Each callback of a
/// derived class may throw an Error.
class StrictJson : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StrictJson(std::string what) : what_(std::move(what)) {}

  bool null() override { refuse("a null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { refuse("a number"); }
  bool number_float(number_float_t, const string_t&) override { refuse("a number that is no 64-bit integer"); }
  bool string(string_t&) override { refuse("a string"); }
  bool binary(binary_t&) override { refuse("binary data"); }
  bool start_object(size_t) override { refuse("an object"); }
  bool key(string_t&) override { refuse("a key"); }
  bool end_object() override { refuse("the end of an object"); }
  bool start_array(size_t) override { refuse("an array"); }
  bool end_array() override { refuse("the end of an array"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override;

  /// Reads the whole text. Error bad_input when it is not one JSON value in UTF-8, or as the handler says.
  void parse(std::string_view text);

 protected:
  /// Error bad_input: "<what> has <found> <where>".
  [[noreturn]] void refuse(std::string_view found) const;
  /// Where in the document the handler is, for that sentence.
  virtual std::string where() const = 0;
  const std::string& what() const { return what_; }

 private:
  std::string what_;
};

}  // namespace kerf
