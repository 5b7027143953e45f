// A picture in memory, and what is done to it: turned, cut out and resized.
#pragma once

#include <cstdint>
#include <vector>

namespace lstn {

// Rows of RGB pixels, 0..255, from the top.
struct Picture {
    Picture() = default;
    Picture(int width, int height) : width(width), height(height), rgb(3 * std::size_t(width) * std::size_t(height)) {}

    std::uint8_t* row(int y) { return rgb.data() + 3 * std::size_t(width) * std::size_t(y); }
    const std::uint8_t* row(int y) const { return rgb.data() + 3 * std::size_t(width) * std::size_t(y); }

    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> rgb;
};

// Whether rows and columns are exchanged when a picture of this EXIF orientation, 1 to 8, is turned upright.
constexpr bool on_its_side(int orientation) { return orientation >= 5; }

// The picture upright, by its EXIF orientation (EXIF 2.32, tag 274).
Picture turned(Picture picture, int orientation);

// A rectangle of a picture, in pixels from its top left corner; single precision, as Pillow has it.
struct Box {
    float left, top, right, bottom;
};

// The part of a picture within a box, at another size, as Pillow's `resize` does it with an antialiased bilinear
// filter: along rows and along columns, each rounded to 8 bits. Pillow before 13 may differ by one of 255: it always
// takes rows first.
Picture resized(const Picture& picture, int width, int height, const Box& box);

}  // namespace lstn
