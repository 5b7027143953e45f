// Text for JSON and for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace lstn {

// A JSON string in ASCII, with its quotes. Bytes that are not UTF-8 become \udc80 to \udcff, as Python's
// surrogateescape has them: file names come back byte for byte.
std::string json_string(std::string_view text);

// A finite number of a row, rounded to six decimals.
std::string json_number(double value);

// The same text with control characters, marks of direction and bytes that are not UTF-8 escaped: a name can't drive a
// terminal.
std::string printable(std::string_view text);

// How many characters a text has; a byte that is not UTF-8 counts as one.
std::size_t length_of(std::string_view text);

// One line of a library's message, at most `most` bytes long.
std::string one_line(std::string_view text, std::size_t most);

}  // namespace lstn
