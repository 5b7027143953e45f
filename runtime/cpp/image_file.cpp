#include "image_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"

namespace lstn {
namespace {

constexpr std::int64_t kMostPixels = 100'000'000;  // lstn.images.MAX_PIXELS
constexpr std::size_t kMostBytes = std::size_t(256) << 20;
constexpr int kCover = 2;  // a JPEG is decoded at the smallest scale that still covers this many times what is wanted

constexpr std::string_view kPng("\x89PNG\r\n\x1a\n", 8), kJpeg("\xff\xd8\xff", 3), kExif("Exif\0\0", 6);

bool starts_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

// An unsigned number at a place that is there.
std::uint32_t number_at(std::string_view data, std::size_t at, int bytes, bool little = false) {
    std::uint32_t number = 0;
    for (int index = 0; index < bytes; ++index)
        number = number << 8 | static_cast<unsigned char>(data[at + (little ? bytes - 1 - index : index)]);
    return number;
}

// A file that is open, and closed at the end.
struct OpenFile {
    explicit OpenFile(const std::string& path) : descriptor(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
    ~OpenFile() {
        if (descriptor >= 0) close(descriptor);
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    int descriptor;
};

// The bytes of a regular file: a pipe would wait for a writer, and a device never end.
std::string read_file(const std::string& path) {
    const OpenFile file(path);
    struct stat status{};
    if (file.descriptor < 0 || fstat(file.descriptor, &status) != 0) throw ImageFailure(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw ImageFailure("not a regular file");
    const std::string too_large = "larger than " + std::to_string(kMostBytes >> 20) + " MiB";
    if (static_cast<std::size_t>(status.st_size) > kMostBytes) throw ImageFailure(too_large);
    std::string data(static_cast<std::size_t>(status.st_size), '\0');
    std::size_t filled = 0;
    while (filled < data.size()) {
        const ssize_t got = read(file.descriptor, data.data() + filled, data.size() - filled);
        if (got < 0 && errno != EINTR) throw ImageFailure(std::strerror(errno));
        if (got == 0) break;
        filled += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
    data.resize(filled);
    return data;
}

// The last EXIF block of a PNG (PNG third edition, 11.3.3.4); it may be behind the pixels.
std::string png_exif(std::string_view data) {
    std::string exif;
    for (std::size_t at = kPng.size(); at + 12 <= data.size();) {
        const std::size_t length = number_at(data, at, 4);
        if (length > data.size() - at - 12) break;
        if (data.substr(at + 4, 4) == "eXIf") {
            const auto* named = reinterpret_cast<const Bytef*>(data.data() + at + 4);
            if (crc32(0, named, static_cast<uInt>(length + 4)) != number_at(data, at + 8 + length, 4))
                throw ImageFailure("damaged image (eXIf: CRC error)");
            exif = data.substr(at + 8, length);
        }
        at += 12 + length;
    }
    return exif;
}

// The EXIF blocks in front of a JPEG's pixels, joined: one that is larger than a segment is in several.
std::string jpeg_exif(std::string_view data) {
    std::string exif;
    for (std::size_t at = 2; at + 4 <= data.size();) {
        const auto marker = static_cast<unsigned char>(data[at + 1]);
        if (data[at] != '\xff' || marker == 0xFF || marker == 0) {  // junk, which libjpeg skips too; fill bytes
            ++at;
            continue;
        }
        if (marker == 0x01 || (marker >= 0xD0 && marker < 0xD8)) {  // TEM and restarts are alone
            at += 2;
            continue;
        }
        const std::size_t length = number_at(data, at + 2, 2);
        if (marker == 0xDA || length < 2 || length + 2 > data.size() - at) break;
        const std::string_view segment = data.substr(at + 4, length - 2);
        if (marker == 0xE1 && starts_with(segment, kExif)) exif += segment.substr(kExif.size());
        at += 2 + length;
    }
    return exif;
}

// The orientation of an EXIF block, 1 to 8; 1 where it is absent or damaged (TIFF 6.0, section 2).
int orientation_of(std::string_view exif) {
    constexpr std::uint32_t kOrientation = 274, kShort = 3, kLong = 4;
    for (int again = 0; again < 2 && starts_with(exif, kExif); ++again) exif.remove_prefix(kExif.size());
    const bool little = starts_with(exif, std::string_view("II*\0", 4));
    if (exif.size() < 8 || !(little || starts_with(exif, std::string_view("MM\0*", 4)))) return 1;
    const std::size_t start = number_at(exif, 4, 4, little);
    if (start > exif.size() || exif.size() - start < 2) return 1;
    const std::size_t count = number_at(exif, start, 2, little);
    for (std::size_t entry = 0; entry < count; ++entry) {
        const std::size_t at = start + 2 + 12 * entry;
        if (at + 12 > exif.size()) return 1;
        const std::uint32_t type = number_at(exif, at + 2, 2, little);
        if (number_at(exif, at, 2, little) != kOrientation || (type != kShort && type != kLong)) continue;
        if (number_at(exif, at + 4, 4, little) != 1) return 1;
        const std::uint32_t value = number_at(exif, at + 8, type == kShort ? 2 : 4, little);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

// What a JPEG's sides are divided by: the smallest picture that covers what is wanted.
int denominator_for(Size size, Size wanted) {
    const int scale = std::min(size.width / (kCover * wanted.width), size.height / (kCover * wanted.height));
    return scale >= 8 ? 8 : scale >= 4 ? 4 : scale >= 2 ? 2 : 1;
}

// Framed as it is stored, and turned when it is small.
Picture decode_jpeg(std::string_view data, const Framing& framing) {
    const int orientation = orientation_of(jpeg_exif(data));
    const bool sideways = on_its_side(orientation);
    JpegFile file(data);
    const Size size = file.size();
    check_size(size.width, size.height);
    const PhotoPlace place = place_of(sideways ? size.sideways() : size, framing.input, framing.fit);
    const Size whole = sideways ? place.whole().sideways() : place.whole();
    const int denominator = denominator_for(size, whole);
    const Picture photo = file.decode(denominator);
    const double width = double(size.width) / denominator, height = double(size.height) / denominator;
    return laid(turned(cut(photo, place, width, height, sideways), orientation), place, framing.fill);
}

// Upright first, as a browser has it: rows and columns are rounded one after the other.
Picture decode_whole_png(std::string_view data, const Framing& framing) {
    const Picture photo = turned(decode_png(data), orientation_of(png_exif(data)));
    const PhotoPlace place = place_of({photo.width, photo.height}, framing.input, framing.fit);
    return laid(cut(photo, place, photo.width, photo.height, false), place, framing.fill);
}

}  // namespace

void check_size(std::int64_t width, std::int64_t height) {
    if (width * height <= kMostPixels) return;
    throw ImageFailure(std::to_string(width) + " x " + std::to_string(height) + " pixels, more than the limit of " +
                       std::to_string(kMostPixels / 1'000'000) + " million");
}

Picture decode(const std::string& path, const Framing& framing) {
    const std::string data = read_file(path);
    if (starts_with(data, kJpeg)) return decode_jpeg(data, framing);
    if (starts_with(data, kPng)) return decode_whole_png(data, framing);
    throw ImageFailure(data.empty() ? "the file is empty" : "not a JPEG or PNG file");
}

}  // namespace lstn
