// Image files -> pixels, as lstn.images decodes them: the same turn, scale, filter and colours, for JPEG and PNG.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "framing.h"
#include "picture.h"

namespace lstn {

// Decode an image file to the input of a model: RGB, upright, alpha composited on black, framed.
//
// Throws ImageFailure: it can't be read, is another kind of file, is damaged, or too large.
Picture decode(const std::string& path, const Framing& framing);

// A JPEG whose header was read.
//
// Throws ImageFailure: it is damaged, ends early, or has colours that nothing says.
class JpegFile {
  public:
    // data: of the file; it has to stay
    explicit JpegFile(std::string_view data);
    ~JpegFile();
    JpegFile(const JpegFile&) = delete;
    JpegFile& operator=(const JpegFile&) = delete;

    Size size() const;

    // The picture at 1/denominator of its size, rounded up, with 1, 2, 4 or 8 as denominator; to be called once.
    Picture decode(int denominator);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// Decode a PNG; alpha is composited on black, and the high byte of 16-bit colours taken; 16-bit gray is scaled to 8
// bits.
//
// Throws ImageFailure: it is damaged, ends early, or too large.
Picture decode_png(std::string_view data);

// A share of a colour, such as one on black: 0..255 both, as Pillow multiplies and rounds them.
inline std::uint8_t multiplied(int colour, int share) {
    const int product = colour * share + 128;
    return static_cast<std::uint8_t>(((product >> 8) + product) >> 8);
}

// Refuse more pixels than are decoded, before there is memory for them.
//
// Throws ImageFailure: there are more.
void check_size(std::int64_t width, std::int64_t height);

}  // namespace lstn
