#include "text.h"

#include <array>
#include <cstdint>
#include <cstdio>

namespace lstn {
namespace {

constexpr char32_t kEscaped = 0xDC00;  // plus a byte that is not UTF-8

// The next character of a text (RFC 3629: no overlong forms, no surrogates), or one byte that is none.
char32_t next_character(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned char first = byte(at++);
    if (first < 0x80) return first;
    const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || text.size() - at < static_cast<std::size_t>(more)) return kEscaped + first;
    char32_t character = first & (0x3F >> more);
    for (int index = 0; index < more; ++index) {
        if ((byte(at + index) & 0xC0) != 0x80) return kEscaped + first;
        character = character << 6 | (byte(at + index) & 0x3F);
    }
    constexpr std::array<char32_t, 4> least{0, 0x80, 0x800, 0x10000};
    if (character < least[more] || character > 0x10FFFF || (character >= 0xD800 && character < 0xE000))
        return kEscaped + first;
    at += more;
    return character;
}

std::string hexadecimal(const char* format, std::uint32_t number) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), format, number);
    return text.data();
}

bool shows_as_itself(char32_t character) {
    const auto within = [&](char32_t first, char32_t last) { return character >= first && character <= last; };
    return !(character < 0x20 || within(0x7F, 0x9F) || within(0x200B, 0x200F) || within(0x2028, 0x202E) ||
             within(0x2060, 0x206F) || within(0xD800, 0xDFFF) || character == 0x61C || character == 0xFEFF);
}

}  // namespace

std::string json_string(std::string_view text) {
    std::string quoted = "\"";
    for (std::size_t at = 0; at < text.size();) {
        const char32_t character = next_character(text, at);
        if (character == '"' || character == '\\') {
            quoted += {'\\', static_cast<char>(character)};
        } else if (character >= 0x20 && character < 0x7F) {
            quoted += static_cast<char>(character);
        } else if (character >= 0x10000) {
            quoted += hexadecimal("\\u%04x", 0xD800 + ((character - 0x10000) >> 10));
            quoted += hexadecimal("\\u%04x", 0xDC00 + (character & 0x3FF));
        } else {
            quoted += hexadecimal("\\u%04x", character);
        }
    }
    return quoted + '"';
}

std::string json_number(double value) {
    std::array<char, 400> digits{};  // the largest double has 309 in front of its point
    std::snprintf(digits.data(), digits.size(), "%.6f", value);
    std::string text = digits.data();
    text.erase(text.find_last_not_of('0') + 1);
    return text.back() == '.' ? text + '0' : text;
}

std::string printable(std::string_view text) {
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t start = at;
        const char32_t character = next_character(text, at);
        if (shows_as_itself(character)) {
            shown += text.substr(start, at - start);
        } else {
            shown += hexadecimal(character < 0x100 ? "\\x%02x" : "\\u%04x", character);
        }
    }
    return shown;
}

std::size_t length_of(std::string_view text) {
    std::size_t characters = 0;
    for (std::size_t at = 0; at < text.size(); ++characters) next_character(text, at);
    return characters;
}

std::string one_line(std::string_view text, std::size_t most) {
    std::string line;
    for (const char each : text) {
        const bool space = each == '\n' || each == '\r' || each == '\t' || each == ' ';
        if (!space)
            line += each;
        else if (!line.empty() && line.back() != ' ')
            line += ' ';
    }
    return line.substr(0, most);
}

}  // namespace lstn
