// The kernels of export/plugin/affine_grid_sample.cu on the CPU: the same source, one thread of the launch after another.
//
//   g++ -shared -fPIC -I export/plugin tests/support/host_shim.cpp
#include <cmath>
#include <cstring>

static struct {
    unsigned x;
} blockIdx, threadIdx, blockDim;

#define __device__
#define __global__

#include "affine_grid_sample.cu"

float to_float(Half value) {
    _Float16 number;
    std::memcpy(&number, &value, sizeof number);
    return static_cast<float>(number);
}

void set(Half& target, float value) {
    const _Float16 number = static_cast<_Float16>(value);
    std::memcpy(&target, &number, sizeof number);
}

template <typename Data>
static void launch(void (*kernel)(const Data*, const float*, int, int, int, int, Data*), unsigned blocks,
                   unsigned block, const void* images, const float* theta, const int* sizes, void* warped) {
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x)
            kernel(static_cast<const Data*>(images), theta, sizes[0], sizes[1], sizes[2], sizes[3],
                   static_cast<Data*>(warped));
}

#define ON_THE_HOST(kernel)                                                                                  \
    extern "C" void host_##kernel(unsigned blocks, unsigned block, const void* images, const float* theta,   \
                                  const int* sizes, void* warped) {                                          \
        launch(kernel, blocks, block, images, theta, sizes, warped);                                         \
    }

ON_THE_HOST(affine_grid_sample_nchw_f32)
ON_THE_HOST(affine_grid_sample_nchw_f16)
ON_THE_HOST(affine_grid_sample_nhwc_f32)
ON_THE_HOST(affine_grid_sample_nhwc8_f16)
