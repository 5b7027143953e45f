// How a photo of any shape becomes an input of one size (lstn.imaging.framing).
#pragma once

#include <array>
#include <cstdint>

#include "picture.h"

namespace lstn {

// How a photo becomes an input of another shape: stretched to it; shrunk until all of it is inside; or scaled until it
// covers the input, of which its middle is taken.
enum class Fit { stretch, letterbox, centre };

struct Size {
    int width, height;

    Size sideways() const { return {height, width}; }
};

// The middle of a photo fills a rectangle of the input.
//
// across, down: the share of the photo's width and of its height that is there, 0..1
// left, top:    of the rectangle, in pixels of the input
// inner:        its size; input: that of the input
struct PhotoPlace {
    double across, down;
    int left, top;
    Size inner, input;

    // The size that all of the photo would have at this scale, rounded up.
    Size whole() const;
};

// Where a photo is in an input; `photo` is its size when it is upright.
PhotoPlace place_of(Size photo, Size input, Fit fit);

// What makes pixels of an input from a photo.
//
// fill: the colour around a letterboxed photo
struct Framing {
    Size input;
    Fit fit;
    std::array<std::uint8_t, 3> fill;
};

// The part of a photo that is shown, at the rectangle's size.
//
// width, height: of the photo, where the picture has a part of a pixel more
// sideways:      the photo is stored with rows and columns exchanged, and the part is too
Picture cut(const Picture& photo, const PhotoPlace& place, double width, double height, bool sideways);

// The input with this part of a photo in its rectangle, and one colour around it.
Picture laid(Picture part, const PhotoPlace& place, const std::array<std::uint8_t, 3>& fill);

}  // namespace lstn
