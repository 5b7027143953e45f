#include <algorithm>
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include "failure.h"
#include "image_file.h"

namespace lstn {
namespace {

// libjpeg's source of bytes that are all there: at their end it stops, so that a file that ends early is refused.
void begin(j_decompress_ptr) {}

boolean no_more(j_decompress_ptr) { return FALSE; }

void skip(j_decompress_ptr jpeg, long count) {
    if (count <= 0) return;
    const std::size_t skipped = std::min(static_cast<std::size_t>(count), jpeg->src->bytes_in_buffer);
    jpeg->src->next_input_byte += skipped;
    jpeg->src->bytes_in_buffer -= skipped;
}

void end(j_decompress_ptr) {}

void say_nothing(j_common_ptr) {}

void to_rgb(const JSAMPLE* samples, int components, int width, std::uint8_t* rgb) {
    for (int x = 0; x < width; ++x, samples += components, rgb += 3) {
        for (int channel = 0; channel < 3; ++channel) {
            if (components == 4) {  // inverted, as Adobe's programs write it
                const int light = samples[3];
                rgb[channel] = static_cast<std::uint8_t>(light - multiplied(255 - samples[channel], light));
            } else {
                rgb[channel] = samples[components == 1 ? 0 : channel];
            }
        }
    }
}

}  // namespace

struct JpegFile::State {
    jpeg_decompress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg_source_mgr source{};
    std::jmp_buf failed{};
    char reason[JMSG_LENGTH_MAX] = "image file is truncated";

    static void fail(j_common_ptr common) {
        auto* state = static_cast<State*>(common->client_data);
        common->err->format_message(common, state->reason);
        std::longjmp(state->failed, 1);
    }

    // libjpeg leaves these by a jump, which runs no destructors: nothing in them has one.
    bool read_header(const unsigned char* data, std::size_t size);
    bool start(int denominator);
    bool read_row(JSAMPLE* samples);
    bool finish();

    [[noreturn]] void refuse() const { throw ImageFailure(std::string("damaged image (") + reason + ")"); }
};

bool JpegFile::State::read_header(const unsigned char* data, std::size_t size) {
    jpeg.err = jpeg_std_error(&errors);
    errors.error_exit = fail;
    errors.output_message = say_nothing;
    jpeg.client_data = this;
    if (setjmp(failed)) return false;
    jpeg_create_decompress(&jpeg);
    source.init_source = begin;
    source.fill_input_buffer = no_more;
    source.skip_input_data = skip;
    source.resync_to_restart = jpeg_resync_to_restart;
    source.term_source = end;
    source.next_input_byte = data;
    source.bytes_in_buffer = size;
    jpeg.src = &source;
    return jpeg_read_header(&jpeg, TRUE) == JPEG_HEADER_OK;
}

bool JpegFile::State::start(int denominator) {
    if (setjmp(failed)) return false;
    jpeg.scale_num = 1;
    jpeg.scale_denom = static_cast<unsigned>(denominator);
    jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : jpeg.num_components == 3 ? JCS_RGB : JCS_CMYK;
    return jpeg_start_decompress(&jpeg);
}

bool JpegFile::State::read_row(JSAMPLE* samples) {
    if (setjmp(failed)) return false;
    return jpeg_read_scanlines(&jpeg, &samples, 1) == 1;
}

bool JpegFile::State::finish() {
    if (setjmp(failed)) return false;
    return jpeg_finish_decompress(&jpeg);
}

JpegFile::JpegFile(std::string_view data) : state_(std::make_unique<State>()) {
    const bool read = state_->read_header(reinterpret_cast<const unsigned char*>(data.data()), data.size());
    const int components = state_->jpeg.num_components;
    if (read && (components == 1 || components == 3 || components == 4)) return;
    if (read) std::snprintf(state_->reason, sizeof state_->reason, "cannot handle %d-layer images", components);
    jpeg_destroy_decompress(&state_->jpeg);
    state_->refuse();
}

JpegFile::~JpegFile() { jpeg_destroy_decompress(&state_->jpeg); }

Size JpegFile::size() const {
    return {static_cast<int>(state_->jpeg.image_width), static_cast<int>(state_->jpeg.image_height)};
}

Picture JpegFile::decode(int denominator) {
    if (!state_->start(denominator)) state_->refuse();
    const int width = static_cast<int>(state_->jpeg.output_width),
              height = static_cast<int>(state_->jpeg.output_height);
    const int components = state_->jpeg.output_components;
    Picture picture(width, height);
    std::vector<JSAMPLE> samples(std::size_t(width) * std::size_t(components));
    for (int y = 0; y < height; ++y) {
        if (!state_->read_row(samples.data())) state_->refuse();
        to_rgb(samples.data(), components, width, picture.row(y));
    }
    if (!state_->finish()) state_->refuse();
    return picture;
}

}  // namespace lstn
