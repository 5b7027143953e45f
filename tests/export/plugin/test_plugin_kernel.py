"""The CUDA source: as PTX for every GPU, and as ordinary code on the CPU against PyTorch in float64."""

import re
import sys

import numpy as np
import pytest
from cuda.bindings import nvjitlink
from host_kernels import RunKernel, torch_answer

from lstn.errors import LstnError, MissingExtra
from lstn.export.plugin.kernel import BLOCK, KERNELS, compile_ptx, count_blocks, for_older_drivers

ROUNDING = 2.0**-24
"""Half the distance between 1 and the next float32."""

CASES = 1000

GPUS = (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121)
"""Compute capabilities from Turing on, as nvJitLink of CUDA 13 knows them."""


def link(ptx: bytes, capability: int) -> int:
    """Return how many bytes of machine code nvJitLink, which comes with PyTorch, makes of it for a GPU."""
    handle = nvjitlink.create(1, [f"-arch=sm_{capability}"])
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, ptx, len(ptx), "kernels")
        nvjitlink.complete(handle)
        return int(nvjitlink.get_linked_cubin_size(handle))
    finally:
        nvjitlink.destroy(handle)


class TestPtx:
    def test_it_is_for_turing_with_the_parameters_that_a_launch_gives(self) -> None:
        ptx = compile_ptx().decode()
        assert ".target sm_75\n" in ptx
        assert re.findall(r"\.visible \.entry (\w+)\(", ptx) == list(KERNELS.values())
        for parameters in re.findall(r"\.entry \w+\((.*?)\)", ptx, re.DOTALL):
            sizes = re.findall(r"\.param \.(\w+)", parameters)
            assert sizes == ["u64", "u64", "u32", "u32", "u32", "u32", "u64"]

    @pytest.mark.parametrize("capability", GPUS)
    def test_a_driver_translates_it_for_every_gpu(self, capability: int) -> None:
        """By the linker that drivers have within them, which also says what an instruction set can't do."""
        assert link(compile_ptx(), capability) > 10_000

    def test_it_needs_no_newer_driver_than_the_oldest_gpu(self) -> None:
        """sm_75 came with PTX 6.3 (PTX ISA, "Release Notes"), so an older one can't name it."""
        assert re.findall(rb"^\.version .*$", compile_ptx(), re.MULTILINE) == [b".version 6.3"]
        with pytest.raises(nvjitlink.nvJitLinkError, match="PTX_COMPILE"):
            link(compile_ptx().replace(b".version 6.3", b".version 6.2"), 75)

    @pytest.mark.parametrize("ptx", [b".target sm_75\n", b".version 9.0\n.version 9.0\n", b"// .version 9.0\n"])
    def test_ptx_that_does_not_say_it_once_is_refused(self, ptx: bytes) -> None:
        with pytest.raises(LstnError, match=r"with [02] lines \.version, expected one"):
            for_older_drivers(ptx)

    def test_memory_is_moved_in_vectors_and_nothing_is_spilled(self) -> None:
        bodies = dict(zip(KERNELS.values(), compile_ptx().decode().split(".visible .entry")[1:], strict=True))
        assert all("st.global.v4" in body and ".local" not in body for body in bodies.values())
        assert "ld.global.nc.v4.f32" in bodies["affine_grid_sample_nhwc_f32"]
        assert "ld.global.nc.v4.u32" in bodies["affine_grid_sample_nhwc8_f16"]

    def test_coordinates_are_float32_even_where_data_is_not(self) -> None:
        ptx = compile_ptx().decode()
        assert not re.search(r"(fma|mul|add|sub)\.(rn\.)?f16", ptx)
        assert ".f64" not in ptx

    def test_a_target_that_the_compiler_does_not_know(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lstn.export.plugin.kernel._OLDEST", 12)
        with pytest.raises(LstnError, match=r"nvrtc can't compile the sampler for sm12: .*architecture") as caught:
            compile_ptx.__wrapped__()
        assert "\n" not in caught.value.message

    def test_cuda_python_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
        with pytest.raises(MissingExtra, match="cuda-python"):
            compile_ptx.__wrapped__()

    @pytest.mark.parametrize(
        ("version", "package"), [("12.9.1", "nvidia-cuda-nvrtc-cu12"), ("13.4.4", "'nvidia-cuda-nvrtc==13.*'")]
    )
    def test_the_compilers_library_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch, version: str, package: str
    ) -> None:
        def missing(*arguments: object) -> None:
            raise RuntimeError('Failure finding "libnvrtc.so"\nsearched here\nand there')

        monkeypatch.setattr("cuda.bindings.nvrtc.nvrtcCreateProgram", missing)
        monkeypatch.setattr("cuda.bindings.__version__", version)
        with pytest.raises(MissingExtra, match="finds no nvrtc") as caught:
            compile_ptx.__wrapped__()
        assert "\n" not in caught.value.message
        assert caught.value.hint == f"run: pip install {package}; or export the model again with --sampler native"


def mild(random: np.random.Generator) -> np.ndarray:
    """As trained localizers have it: turned, scaled, sheared and moved by less than half an image."""
    return np.eye(2, 3) + random.uniform(-0.5, 0.5, (2, 3))


def far(random: np.random.Generator) -> np.ndarray:
    """Moved by up to ten images: mostly or wholly outside."""
    theta = mild(random)
    theta[:, 2] = random.uniform(-20, 20, 2)
    return theta


def degenerate(random: np.random.Generator) -> np.ndarray:
    """Of rank 1 or 0: the image becomes a line or a point."""
    line = np.outer(random.uniform(-1, 1, 2), [*random.uniform(-2, 2, 2), 0]) * random.integers(0, 2)
    line[:, 2] = random.uniform(-1, 1, 2)
    return line


def large(random: np.random.Generator) -> np.ndarray:
    return random.normal(size=(2, 3)) * 10.0 ** random.integers(1, 4)


def huge(random: np.random.Generator) -> np.ndarray:
    """Beyond what an integer holds."""
    return random.normal(size=(2, 3)) * 10.0 ** random.integers(10, 30)


def not_finite(random: np.random.Generator) -> np.ndarray:
    theta = mild(random)
    theta.flat[random.integers(0, 6)] = random.choice([np.nan, np.inf, -np.inf])
    return theta


THETAS = [mild, mild, far, degenerate, large, huge, not_finite]


def allowed(images: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """How far float32 may be off, per image of values in 0..1: the warped image changes by 1 a pixel at most.

    A coordinate is a sum of three products, in pixels from the centre, each of which rounds a few times.
    """
    height, width = images.shape[2:]
    across = width / 2 * (np.abs(theta[:, 0]).sum(-1) + 1)
    down = height / 2 * (np.abs(theta[:, 1]).sum(-1) + 1)
    rounding = 4 * ROUNDING * (across + down) + 8 * ROUNDING
    if images.dtype == np.float16:
        rounding += 2.0**-12
    return rounding[:, None, None, None]


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_random_cases_are_as_in_pytorch(run_kernel: RunKernel, kernel: str) -> None:
    random = np.random.default_rng(0)
    for case in range(CASES // len(KERNELS)):
        batch, height, width = random.integers(1, [4, 40, 40])
        shape = (batch, (1, 3, 4, 8)[case % 4], height, width)
        images = random.random(shape).astype(np.float16 if "f16" in kernel else np.float32)
        theta = np.stack([THETAS[random.integers(len(THETAS))](random) for _ in range(batch)]).astype(np.float32)
        found = run_kernel(kernel, images, theta).astype(np.float64)
        wanted = torch_answer(images, theta)
        if not np.isfinite(theta).all():
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        excess = np.abs(found - wanted) - allowed(images, np.nan_to_num(theta, posinf=0, neginf=0))
        assert np.nanmax(excess, initial=-1) <= 0, (case, shape, theta)


@pytest.mark.parametrize("kernel", KERNELS.values())
@pytest.mark.parametrize("side", [456, 455])
def test_errors_stay_below_a_ten_thousandth_at_456_pixels(run_kernel: RunKernel, kernel: str, side: int) -> None:
    random = np.random.default_rng(side)
    images = random.random((8, 3, side, side)).astype(np.float16 if "f16" in kernel else np.float32)
    theta = np.stack([mild(random) for _ in range(8)]).astype(np.float32)
    error = np.abs(run_kernel(kernel, images, theta) - torch_answer(images, theta)).max()
    own_rounding = 2.0**-12 if "f16" in kernel else 0  # of the answer, in float16
    assert error < 1e-4 + own_rounding


@pytest.mark.parametrize("kernel", KERNELS.values())
@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (5, 1), (28, 28), (45, 33), (456, 456)])
def test_the_identity_changes_nothing(run_kernel: RunKernel, kernel: str, hw: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((2, 3, *hw)).astype(np.float16 if "f16" in kernel else np.float32)
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
    assert (run_kernel(kernel, images, theta) == images).all()


@pytest.mark.parametrize("kernel", KERNELS.values())
@pytest.mark.parametrize("shift", [3.0, 1e10, -1e30])
def test_far_outside_is_zero_even_of_an_image_of_no_numbers(run_kernel: RunKernel, kernel: str, shift: float) -> None:
    images = np.full((1, 3, 9, 12), np.nan, np.float16 if "f16" in kernel else np.float32)
    theta = np.array([[[1, 0, shift], [0, 1, 0]]], np.float32)
    assert (run_kernel(kernel, images, theta) == 0).all()


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_each_image_has_its_own_theta(run_kernel: RunKernel, kernel: str) -> None:
    images = np.ones((300, 1, 3, 5), np.float16 if "f16" in kernel else np.float32)
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (300, 1, 1))
    theta[::2, 0, 2] = 3
    assert (run_kernel(kernel, images, theta) == (np.arange(300) % 2)[:, None, None, None]).all()


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_a_launch_has_a_thread_for_every_pixel_and_hardly_more(kernel: str) -> None:
    for height, width in [(1, 1), (8, 16), (224, 224), (33, 457)]:
        pixels = BLOCK * (4 if "nchw" in kernel else 1)
        blocks = count_blocks(kernel, 5, height, width)
        padded = height * (-(-width // 4) * 4 if "nchw" in kernel else width)
        assert blocks == 5 * -(-padded // pixels)
