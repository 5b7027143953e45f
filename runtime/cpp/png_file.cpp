#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "failure.h"
#include "image_file.h"

namespace lstn {
namespace {

// A transparent colour in the file's scale; no sample has the value -1.
using Key = std::array<int, 3>;

constexpr Key kNoKey{-1, -1, -1};

// One row of samples, of one byte each or of two -> RGB.
class Converter {
  public:
    Converter(png_structp png, png_infop info);

    void convert(const png_byte* samples, std::uint8_t* rgb) const;

  private:
    void read_palette(png_structp png, png_infop info);
    void read_key(const png_color_16& key);
    void convert_gray(const png_byte* sample, std::uint8_t* rgb) const;

    int width_, depth_, channels_;
    int colours_;  // PNG_COLOR_TYPE_…
    Key key_ = kNoKey;
    std::array<std::array<std::uint8_t, 3>, 256> palette_{};
};

Converter::Converter(png_structp png, png_infop info)
    : width_(static_cast<int>(png_get_image_width(png, info))),
      depth_(png_get_bit_depth(png, info)),
      channels_(png_get_channels(png, info)),
      colours_(png_get_color_type(png, info)) {
    png_color_16p key = nullptr;
    if (colours_ == PNG_COLOR_TYPE_PALETTE)
        read_palette(png, info);
    else if (png_get_tRNS(png, info, nullptr, nullptr, &key) && key != nullptr)
        read_key(*key);
}

// What the file leaves undefined is black.
void Converter::read_palette(png_structp png, png_infop info) {
    png_colorp colours = nullptr;
    png_bytep alphas = nullptr;
    int colour_count = 0, alpha_count = 0;
    png_get_PLTE(png, info, &colours, &colour_count);
    png_get_tRNS(png, info, &alphas, &alpha_count, nullptr);
    for (int index = 0; index < colour_count; ++index) {
        const png_color& colour = colours[index];
        const int alpha = alphas != nullptr && index < alpha_count ? alphas[index] : 255;
        palette_[index] = {multiplied(colour.red, alpha), multiplied(colour.green, alpha),
                           multiplied(colour.blue, alpha)};
    }
}

// Only as many bits count as a sample has; of 16-bit colours the high bytes.
void Converter::read_key(const png_color_16& key) {
    if (colours_ == PNG_COLOR_TYPE_RGB) {
        const auto byte_of = [&](png_uint_16 value) { return depth_ == 16 ? value >> 8 : value & 0xFF; };
        key_ = {byte_of(key.red), byte_of(key.green), byte_of(key.blue)};
    } else {
        key_[0] = depth_ == 1 ? key.gray != 0 : key.gray % (1 << depth_);
    }
}

void Converter::convert(const png_byte* samples, std::uint8_t* rgb) const {
    const int bytes = depth_ == 16 ? 2 : 1;
    for (int x = 0; x < width_; ++x, samples += channels_ * bytes, rgb += 3) {
        if (colours_ == PNG_COLOR_TYPE_PALETTE) {
            std::copy(palette_[*samples].begin(), palette_[*samples].end(), rgb);
        } else if (colours_ == PNG_COLOR_TYPE_GRAY) {
            convert_gray(samples, rgb);
        } else {
            const bool gray = colours_ == PNG_COLOR_TYPE_GRAY_ALPHA;
            const int alpha = colours_ == PNG_COLOR_TYPE_RGB ? 255 : samples[(channels_ - 1) * bytes];
            Key colour{};
            for (int channel = 0; channel < 3; ++channel) colour[channel] = samples[gray ? 0 : channel * bytes];
            for (int channel = 0; channel < 3; ++channel)
                rgb[channel] = colour == key_ ? 0 : multiplied(colour[channel], alpha);
        }
    }
}

void Converter::convert_gray(const png_byte* sample, std::uint8_t* rgb) const {
    const int top = (1 << depth_) - 1, value = depth_ == 16 ? sample[0] << 8 | sample[1] : sample[0];
    const int gray = value == key_[0] ? 0 : (value * 255 + top / 2) / top;
    std::fill(rgb, rgb + 3, static_cast<std::uint8_t>(gray));
}

struct Source {
    std::string_view data;
    char reason[200] = "";
};

// An open PNG. libpng leaves its functions by a jump, which runs no destructors: what calls it here has nothing with
// one.
class PngFile {
  public:
    explicit PngFile(std::string_view data) : source_{data} {
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, fail, say_nothing);
        info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
        if (info_ == nullptr) png_destroy_read_struct(&png_, nullptr, nullptr);
        if (info_ == nullptr) throw ImageFailure("not enough memory for its pixels");
    }
    ~PngFile() { png_destroy_read_struct(&png_, &info_, nullptr); }
    PngFile(const PngFile&) = delete;
    PngFile& operator=(const PngFile&) = delete;

    bool read_header();
    bool read_row(png_bytep row);

    [[noreturn]] void refuse() const { throw ImageFailure(std::string("damaged image (") + source_.reason + ")"); }

    png_structp png() const { return png_; }
    png_infop info() const { return info_; }
    int passes() const { return passes_; }

  private:
    [[noreturn]] static void fail(png_structp png, png_const_charp reason) {
        auto* source = static_cast<Source*>(png_get_error_ptr(png));
        std::snprintf(source->reason, sizeof source->reason, "%s", reason);
        png_longjmp(png, 1);
    }

    static void say_nothing(png_structp, png_const_charp) {}

    static void read(png_structp png, png_bytep into, std::size_t size) {
        auto* source = static_cast<Source*>(png_get_io_ptr(png));
        if (size > source->data.size()) png_error(png, "image file is truncated");
        std::memcpy(into, source->data.data(), size);
        source->data.remove_prefix(size);
    }

    Source source_;
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
    int passes_ = 1;
};

// Reads up to the pixels. Only what makes them is kept: the rest may be wrong, or huge.
bool PngFile::read_header() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, &source_, read);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_crc_action(png_, PNG_CRC_DEFAULT, PNG_CRC_QUIET_USE);  // else it may go on without transparency
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);   // `check_size` has ours
    png_read_info(png_, info_);
    png_set_packing(png_);
    passes_ = png_set_interlace_handling(png_);
    return true;
}

bool PngFile::read_row(png_bytep row) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_row(png_, row, nullptr);
    return true;
}

}  // namespace

Picture decode_png(std::string_view data) {
    PngFile file(data);
    if (!file.read_header()) file.refuse();
    const std::int64_t width = png_get_image_width(file.png(), file.info());
    const std::int64_t height = png_get_image_height(file.png(), file.info());
    check_size(width, height);
    const Converter converter(file.png(), file.info());
    const int bytes = png_get_bit_depth(file.png(), file.info()) == 16 ? 2 : 1;
    const std::size_t row_bytes = std::size_t(width) * png_get_channels(file.png(), file.info()) * bytes;
    const bool interlaced = file.passes() > 1;  // then a row is there only after the last pass
    std::vector<png_byte> rows(row_bytes * (interlaced ? height : 1));
    Picture picture(static_cast<int>(width), static_cast<int>(height));
    for (int pass = 0; pass < file.passes(); ++pass) {
        for (int y = 0; y < picture.height; ++y) {
            png_byte* row = rows.data() + (interlaced ? row_bytes * y : 0);
            if (!file.read_row(row)) file.refuse();
            if (pass == file.passes() - 1) converter.convert(row, picture.row(y));
        }
    }
    return picture;
}

}  // namespace lstn
