#include "framing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lstn {

Size PhotoPlace::whole() const {
    const auto side = [](int inner, double share) { return static_cast<int>(std::ceil(inner / share - 1e-6)); };
    return {side(inner.width, across), side(inner.height, down)};
}

PhotoPlace place_of(Size photo, Size input, Fit fit) {
    const std::int64_t wide = photo.width, high = photo.height, width = input.width, height = input.height;
    const bool flatter = wide * height >= high * width;  // than the input, in its shape
    PhotoPlace place{1, 1, 0, 0, input, input};
    if (fit == Fit::centre) {
        if (flatter)
            place.across = double(width * high) / double(height * wide);
        else
            place.down = double(height * wide) / double(width * high);
    } else if (fit == Fit::letterbox) {
        const auto halves_up = [](std::int64_t number, std::int64_t by) {
            return static_cast<int>(std::max<std::int64_t>(1, (2 * number + by) / (2 * by)));
        };
        if (flatter)
            place.inner.height = halves_up(high * width, wide);
        else
            place.inner.width = halves_up(wide * height, high);
        place.left = (input.width - place.inner.width) / 2;
        place.top = (input.height - place.inner.height) / 2;
    }
    return place;
}

Picture cut(const Picture& photo, const PhotoPlace& place, double width, double height, bool sideways) {
    const Size size = sideways ? place.inner.sideways() : place.inner;
    const double across = sideways ? place.down : place.across, down = sideways ? place.across : place.down;
    const double left = (1 - across) / 2, top = (1 - down) / 2;
    const Box box{float(left * width), float(top * height), float((1 - left) * width), float((1 - top) * height)};
    return resized(photo, size.width, size.height, box);
}

Picture laid(Picture part, const PhotoPlace& place, const std::array<std::uint8_t, 3>& fill) {
    const auto [width, height] = place.input;
    if (part.width == width && part.height == height) return part;
    Picture whole(width, height);
    for (std::size_t at = 0; at < whole.rgb.size(); at += 3)
        std::copy(fill.begin(), fill.end(), whole.rgb.begin() + at);
    for (int y = 0; y < part.height; ++y)
        std::memcpy(whole.row(place.top + y) + 3 * place.left, part.row(y), 3 * std::size_t(part.width));
    return whole;
}

}  // namespace lstn
