#include "picture.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

namespace lstn {
namespace {

constexpr int kFraction = 22;  // bits of a weight behind the point: 8 of a pixel and 2 of headroom are left of 32

// Which pixels along an axis make a pixel of the result, and how much of each.
struct Taps {
    int first = 0;
    std::vector<std::int32_t> weights;

    int end() const { return first + static_cast<int>(weights.size()); }
};

// Weights of a triangle as wide as two pixels of the larger of picture and result, for each pixel of the result.
std::vector<Taps> taps_of(int pixels, float from, float to, int results) {
    const double scale = static_cast<double>(to - from) / results, radius = std::max(scale, 1.0);
    std::vector<Taps> taps(results);
    std::vector<double> shares;
    for (int result = 0; result < results; ++result) {
        const double centre = from + (result + 0.5) * scale;
        const int first = std::max(static_cast<int>(centre - radius + 0.5), 0);
        const int end = std::min(static_cast<int>(centre + radius + 0.5), pixels);
        shares.clear();
        double sum = 0;
        for (int pixel = first; pixel < end; ++pixel) {
            shares.push_back(std::max(0.0, 1 - std::abs((pixel - centre + 0.5) * (1 / radius))));
            sum += shares.back();
        }
        taps[result].first = first;
        for (const double share : shares)
            taps[result].weights.push_back(static_cast<std::int32_t>(0.5 + share / sum * (1 << kFraction)));
    }
    return taps;
}

std::uint8_t rounded(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kFraction, 0, 255)); }

constexpr std::int32_t kHalf = 1 << (kFraction - 1);

void resize_row(const std::uint8_t* pixels, const std::vector<Taps>& taps, std::uint8_t* result) {
    for (const Taps& tap : taps) {
        std::int32_t red = kHalf, green = kHalf, blue = kHalf;
        const std::uint8_t* pixel = pixels + 3 * std::size_t(tap.first);
        for (const std::int32_t weight : tap.weights) {
            red += weight * pixel[0];
            green += weight * pixel[1];
            blue += weight * pixel[2];
            pixel += 3;
        }
        *result++ = rounded(red);
        *result++ = rounded(green);
        *result++ = rounded(blue);
    }
}

void add_row(const std::uint8_t* samples, std::int32_t weight, std::vector<std::int32_t>& sums) {
    for (std::size_t sample = 0; sample < sums.size(); ++sample) sums[sample] += weight * samples[sample];
}

// Pillow's order since its version 13: columns first where that saves much.
bool columns_first(const Picture& picture, int width, int height) {
    return picture.height > height && picture.height - height > 2 * (std::int64_t(picture.width) - width);
}

}  // namespace

Picture turned(Picture picture, int orientation) {
    if (orientation == 1) return picture;
    const bool sideways = on_its_side(orientation);
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Picture upright(sideways ? picture.height : picture.width, sideways ? picture.width : picture.height);
    for (int y = 0; y < upright.height; ++y) {
        std::uint8_t* pixel = upright.row(y);
        for (int x = 0; x < upright.width; ++x, pixel += 3) {
            const int column = sideways ? y : x, line = sideways ? x : y;
            const std::uint8_t* source = picture.row(from_bottom ? picture.height - 1 - line : line) +
                                         3 * std::size_t(from_right ? picture.width - 1 - column : column);
            std::memcpy(pixel, source, 3);
        }
    }
    return upright;
}

// Rows of the picture come one after the other, and each is added to the rows of the result that it is part of: so a
// picture that is very high needs no copy of its height at the new width.
Picture resized(const Picture& picture, int width, int height, const Box& box) {
    const bool down_first = columns_first(picture, width, height);
    const std::vector<Taps> across = taps_of(picture.width, box.left, box.right, width);
    const std::vector<Taps> down = taps_of(picture.height, box.top, box.bottom, height);
    Picture result(width, height);
    std::vector<std::uint8_t> line(3 * std::size_t(down_first ? picture.width : width));
    std::deque<std::vector<std::int32_t>> sums;  // of rows of the result from `done` on
    int begun = 0, done = 0;
    for (int y = down.front().first; done < height; ++y) {
        for (; begun < height && down[begun].first <= y; ++begun) sums.emplace_back(line.size(), kHalf);
        if (!down_first) resize_row(picture.row(y), across, line.data());
        const std::uint8_t* samples = down_first ? picture.row(y) : line.data();
        for (int row = done; row < begun; ++row) {
            if (y < down[row].end()) add_row(samples, down[row].weights[y - down[row].first], sums[row - done]);
        }
        for (; done < begun && down[done].end() <= y + 1; ++done, sums.pop_front()) {
            std::uint8_t* const finished = down_first ? line.data() : result.row(done);
            std::transform(sums.front().begin(), sums.front().end(), finished, rounded);
            if (down_first) resize_row(line.data(), across, result.row(done));
        }
    }
    return result;
}

}  // namespace lstn
