// lstn::AffineGridSample: an affine grid and the bilinear sampler that reads an image at it, in one pass.
//
//   images (N, C, H, W) or channels-last, theta (N, 2, 3) float32  ->  warped, as images
//
// What F.grid_sample(images, F.affine_grid(theta, size, align_corners=False), "bilinear", "zeros", align_corners=False)
// returns, but the grid is never written: a thread works its points out where it needs them. Data is float32 or
// float16, coordinates and sums are float32 always. A point at which a coordinate isn't finite reads NaN, as it does
// in PyTorch on a CPU; PyTorch on a GPU reads zero there, which would hide a localizer that diverged.
//
// nvrtc compiles this to PTX; a host compiler can too, see tests/support/host_shim.cpp. Hence no include.

struct Half {
    unsigned short bits;
};

#ifdef __CUDACC__
__device__ inline float to_float(Half value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}

__device__ inline void set(Half& target, float value) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(target.bits) : "f"(value));
}
#else  // whoever includes this defines them
float to_float(Half value);
void set(Half& target, float value);
#endif

__device__ inline float to_float(float value) { return value; }

__device__ inline void set(float& target, float value) { target = value; }

// So many values side by side that one instruction moves them all.
template <typename Data, int count>
struct alignas(sizeof(Data) * count) Pack {
    Data at[count];
};

const int PIXELS = 4;  // neighbours in a row that one thread computes in planes; lstn.export.plugin.kernel knows it too

// The four pixels around a point: the upper left one, a weight for each, and which of them lie in the image.
struct Corners {
    int row, column;
    float weights[4];
    bool inside[4];
    float outside;  // what a pixel outside reads: 0, or NaN where the point itself is none
};

// An offset from the image's centre in pixels -> the pixel at or before it and how far beyond that it is, 0..1.
//
// Counted from the centre, and not from the edge on a scale of -1..1, numbers stay small and the identity is exact: at
// 456 pixels a step rounds by 8e-6 pixels at most instead of 1.5e-5. False if the point is a pixel or more outside.
__device__ inline bool locate(float offset, int size, int& pixel, float& beyond) {
    const int middle = (size - 1) / 2;
    const float point = size % 2 ? offset : offset + 0.5f;
    const float whole = floorf(point);
    beyond = point - whole;
    const bool near = whole >= -1.f - middle && whole < size - middle;  // before int, which holds less than float
    pixel = near ? static_cast<int>(whole) + middle : -2;
    return near;
}

// Where output pixel (row, column) reads its image.
__device__ inline Corners corners_at(const float* __restrict__ theta, int row, int column, int height, int width) {
    const float x = column - 0.5f * (width - 1), y = row - 0.5f * (height - 1);
    const float wide = static_cast<float>(width) / height, tall = static_cast<float>(height) / width;
    const float to_x = fmaf(theta[0], x, fmaf(theta[1] * wide, y, theta[2] * (0.5f * width)));
    const float to_y = fmaf(theta[3] * tall, x, fmaf(theta[4], y, theta[5] * (0.5f * height)));
    Corners found;
    float right, down;
    const bool near_x = locate(to_x, width, found.column, right);
    const bool near_y = locate(to_y, height, found.row, down);
    const bool left_in = near_x && found.column >= 0, right_in = near_x && found.column + 1 < width;
    const bool top_in = near_y && found.row >= 0, bottom_in = near_y && found.row + 1 < height;
    found.inside[0] = top_in && left_in;
    found.inside[1] = top_in && right_in;
    found.inside[2] = bottom_in && left_in;
    found.inside[3] = bottom_in && right_in;
    found.weights[0] = (1.f - down) * (1.f - right);
    found.weights[1] = (1.f - down) * right;
    found.weights[2] = down * (1.f - right);
    found.weights[3] = down * right;
    found.outside = (to_x - to_x) + (to_y - to_y);  // NaN as soon as one isn't finite
    return found;
}

// Which image a block is for, and which thread of those for this image this one is. An image has blocks of its own, so
// that a block reads one theta.
__device__ inline int image_of(int threads, int& thread) {
    const int blocks = (threads + blockDim.x - 1) / blockDim.x;
    thread = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    return blockIdx.x / blocks;
}

// NCHW: a thread computes PIXELS neighbours of one row, in every channel, and writes them at once where they align.
template <typename Data>
__device__ inline void sample_planes(const Data* __restrict__ images, const float* __restrict__ theta, int batch,
                                     int channels, int height, int width, Data* __restrict__ warped) {
    const int groups = (width + PIXELS - 1) / PIXELS;
    int group;
    const int n = image_of(groups * height, group);
    const int row = group / groups, first = group % groups * PIXELS;
    if (n >= batch || row >= height) return;
    Corners corners[PIXELS];
    for (int p = 0; p < PIXELS; ++p) corners[p] = corners_at(theta + 6ll * n, row, first + p, height, width);
    const long long plane = static_cast<long long>(height) * width;
    for (int c = 0; c < channels; ++c) {
        const Data* from = images + (static_cast<long long>(n) * channels + c) * plane;
        Data* to = warped + (from - images) + static_cast<long long>(row) * width + first;
        Pack<Data, PIXELS> result;
        for (int p = 0; p < PIXELS; ++p) {
            const Corners& at = corners[p];
            const Data* corner = from + static_cast<long long>(at.row) * width + at.column;
            float sum = at.outside;
            for (int k = 0; k < 4; ++k)
                if (at.inside[k]) sum = fmaf(at.weights[k], to_float(corner[(k / 2) * width + k % 2]), sum);
            set(result.at[p], sum);
        }
        if (width % PIXELS == 0)
            *reinterpret_cast<Pack<Data, PIXELS>*>(to) = result;
        else
            for (int p = 0; p < PIXELS && first + p < width; ++p) to[p] = result.at[p];
    }
}

// Channels-last: a thread computes one pixel, `lanes` channels at once. `pitch` is how many channels a pixel takes in
// memory, a multiple of `lanes`; what pads it is computed along with the rest.
template <typename Data, int lanes>
__device__ inline void sample_pixels(const Data* __restrict__ images, const float* __restrict__ theta, int batch,
                                     int pitch, int height, int width, Data* __restrict__ warped) {
    typedef Pack<Data, lanes> Lanes;
    int pixel;
    const int n = image_of(height * width, pixel);
    const int row = pixel / width, column = pixel % width;
    if (n >= batch || row >= height) return;
    const Corners at = corners_at(theta + 6ll * n, row, column, height, width);
    const int packs = pitch / lanes;
    const long long image = static_cast<long long>(height) * width * packs;
    const Lanes* from = reinterpret_cast<const Lanes*>(images) + n * image;
    Lanes* to = reinterpret_cast<Lanes*>(warped) + n * image + static_cast<long long>(pixel) * packs;
    const long long corner = (static_cast<long long>(at.row) * width + at.column) * packs;
    for (int pack = 0; pack < packs; ++pack) {
        float sums[lanes];
        for (int lane = 0; lane < lanes; ++lane) sums[lane] = at.outside;
        for (int k = 0; k < 4; ++k) {
            if (!at.inside[k]) continue;
            const Lanes read = from[corner + ((k / 2) * static_cast<long long>(width) + k % 2) * packs + pack];
            for (int lane = 0; lane < lanes; ++lane)
                sums[lane] = fmaf(at.weights[k], to_float(read.at[lane]), sums[lane]);
        }
        Lanes result;
        for (int lane = 0; lane < lanes; ++lane) set(result.at[lane], sums[lane]);
        to[pack] = result;
    }
}

// The order of arguments is TensorRT's: inputs, scalars, outputs.

extern "C" __global__ void affine_grid_sample_nchw_f32(const float* __restrict__ images,
    const float* __restrict__ theta, int batch, int channels, int height, int width, float* __restrict__ warped) {
    sample_planes(images, theta, batch, channels, height, width, warped);
}

extern "C" __global__ void affine_grid_sample_nchw_f16(const Half* __restrict__ images,
    const float* __restrict__ theta, int batch, int channels, int height, int width, Half* __restrict__ warped) {
    sample_planes(images, theta, batch, channels, height, width, warped);
}

extern "C" __global__ void affine_grid_sample_nhwc_f32(const float* __restrict__ images,
    const float* __restrict__ theta, int batch, int channels, int height, int width, float* __restrict__ warped) {
    if (channels % 4 == 0)
        sample_pixels<float, 4>(images, theta, batch, channels, height, width, warped);
    else
        sample_pixels<float, 1>(images, theta, batch, channels, height, width, warped);
}

// A pixel takes a multiple of eight channels in memory: TensorRT's HWC8.
extern "C" __global__ void affine_grid_sample_nhwc8_f16(const Half* __restrict__ images,
    const float* __restrict__ theta, int batch, int channels, int height, int width, Half* __restrict__ warped) {
    sample_pixels<Half, 8>(images, theta, batch, (channels + 7) / 8 * 8, height, width, warped);
}
