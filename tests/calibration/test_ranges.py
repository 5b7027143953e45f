"""Ranges of tensors, against ONNX Runtime's own outputs on the same images."""

import json
import resource
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hand_made import SIDE as HAND_SIDE
from hand_made import ArraySplit, make_model, save
from onnx import TensorProto
from small_models import SIDE, exported_model

from lstn.calibration.ranges import Ranges, drawn_indices, ranges_of
from lstn.contract import PIXELS, Loc
from lstn.data.dataset import Split
from lstn.errors import ArtifactError, DataError, LstnError
from lstn.files import sha256_of
from lstn.images import Pixels
from lstn.precision import RangeMethod


class Noise:
    """Images of noise; image 3 is much brighter than the rest."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._images = rng.integers(0, 100, (count, SIDE, SIDE, 3), dtype=np.uint8)
        if count > 3:
            self._images[3] += 150
        self.fingerprint = f"noise {count} {seed}"

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self._images[index], index % 10

    def redrawn(self, epoch: int) -> "Noise":
        return self


class Forbidden(Noise):
    """The same images, none of which may be read."""

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        raise AssertionError(f"image {index} was read")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported_model(Loc.LSTN).SerializeToString())
    return path


def measured(
    onnx_file: Path, split: Split, method: RangeMethod = RangeMethod.MINMAX, count: int = 20, seed: int = 0
) -> Ranges:
    return ranges_of(onnx_file, split, method=method, count=count, seed=seed, cache=onnx_file.with_suffix(".json"))


def tensors_of(onnx_file: Path, name: str, pixels: Pixels) -> np.ndarray:
    model = onnx.load(onnx_file)
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], {PIXELS: pixels})[0]


@pytest.mark.filterwarnings("ignore")
def test_minmax_is_the_smallest_and_largest_value_over_all_images(onnx_file: Path) -> None:
    split = Noise(20)
    ranges = measured(onnx_file, split)
    pixels = np.stack([split[index][0] for index in range(20)])
    for name in ("input/Add", "sampler/GridSample", "backbone.features.2/MaxPool", "localizer.features.2/Relu"):
        values = tensors_of(onnx_file, name, pixels)
        np.testing.assert_allclose(ranges.tensors[name], (values.min(), values.max()), rtol=1e-4, atol=1e-5)


def test_tensors_are_in_the_order_of_their_names(onnx_file: Path) -> None:
    """Else the same command writes another file each time: ONNX Runtime has them in the order of hashes."""
    tensors = measured(onnx_file, Noise(8), count=8).tensors
    assert len(tensors) > 10
    assert list(tensors) == sorted(tensors)


def test_percentile_and_entropy_leave_outliers_out(tmp_path: Path) -> None:
    """By hand: ONNX Runtime takes its time over each tensor."""
    file = save(make_model(), tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 100, (20, HAND_SIDE, HAND_SIDE, 3), dtype=np.uint8)
    pixels[3] += 150
    split = ArraySplit(pixels, (0,) * 20)
    whole = measured(file, split).tensors["input/Mul"]
    for method in (RangeMethod.PERCENTILE, RangeMethod.ENTROPY):
        file.with_suffix(".json").unlink()
        low, high = measured(file, split, method).tensors["input/Mul"]
        assert -high * 1.01 <= low <= 0.0 < high  # symmetric, for a symmetric type
        assert high <= max(abs(whole[0]), abs(whole[1])) * 1.01


def test_images_are_drawn_by_seed_and_without_repetition() -> None:
    split = Noise(300)
    first = drawn_indices(split, 200, 0)
    assert first == drawn_indices(split, 200, 0)
    assert first != drawn_indices(split, 200, 1)
    assert len(set(first)) == 200
    assert set(drawn_indices(split, 1000, 0)) == set(range(300))


def test_few_images_are_warned_of_and_very_few_refused(capsys: pytest.CaptureFixture[str]) -> None:
    drawn_indices(Noise(128), 128, 0)
    assert capsys.readouterr().err == ""
    drawn_indices(Noise(127), 512, 0)
    assert "calibrating on 127 images" in capsys.readouterr().err
    drawn_indices(Noise(8), 8, 0)
    with pytest.raises(DataError, match="7 images to calibrate on, at least 8"):
        drawn_indices(Noise(512), 7, 0)


def test_the_cache_spares_the_second_run_every_image(onnx_file: Path) -> None:
    first = measured(onnx_file, Noise(20))
    assert measured(onnx_file, Forbidden(20)) == first


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 1}, "another seed"),
        ({"count": 16}, "another number of images"),
        ({"method": RangeMethod.PERCENTILE}, "another method"),
        ({"split": Noise(20, seed=1)}, "another data set"),
    ],
)
def test_a_cache_of_other_settings_is_measured_again(
    onnx_file: Path, change: dict[str, object], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = measured(onnx_file, Noise(20))
    again = measured(onnx_file, **({"split": Noise(20)} | change))  # type: ignore[arg-type]
    assert again != first
    assert f"ranges of {what}" in capsys.readouterr().err
    forbidden = Forbidden(20, seed=1 if "split" in change else 0)
    assert measured(onnx_file, **(change | {"split": forbidden})) == again  # type: ignore[arg-type]


def test_a_cache_of_another_model_is_measured_again(onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = measured(onnx_file, Noise(20))
    model = onnx.load(onnx_file)
    weight = next(
        each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT and len(each.dims) == 4
    )
    weight.raw_data = (2 * np.frombuffer(weight.raw_data, np.float32)).tobytes()
    onnx_file.write_bytes(model.SerializeToString())
    again = measured(onnx_file, Noise(20))
    assert again.onnx_sha256 == sha256_of(onnx_file) != first.onnx_sha256
    assert again.tensors != first.tensors
    assert "ranges of another model" in capsys.readouterr().err
    assert measured(onnx_file, Forbidden(20)) == again


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"minmax"', '"maxmin"'),
        lambda text: json.dumps(json.loads(text) | {"tensors": {"x": [0.0]}}),
        lambda text: json.dumps(json.loads(text) | {"tensors": {"x": [0.0, float("nan")]}}),
        lambda text: json.dumps(json.loads(text) | {"tensors": []}),
        lambda text: json.dumps(json.loads(text) | {"tensors": {}}),
        lambda text: with_range_of_the_backbones_image(text, None),
        lambda text: with_range_of_the_backbones_image(text, [1.0, -1.0]),
        lambda text: with_range_of_the_backbones_image(text, [-1e300, 1e300]),
    ],
)
def test_a_damaged_cache_is_one_clear_line(onnx_file: Path, damage: object) -> None:
    measured(onnx_file, Noise(20))
    cache = onnx_file.with_suffix(".json")
    cache.write_text(damage(cache.read_text()))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match="damaged ranges"):
        measured(onnx_file, Noise(20))


def with_range_of_the_backbones_image(text: str, values: list[float] | None) -> str:
    cache = json.loads(text)
    del cache["tensors"]["sampler/GridSample"]
    if values is not None:
        cache["tensors"]["sampler/GridSample"] = values
    return json.dumps(cache)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_disk_for_temporary_files_is_no_defect(onnx_file: Path, share: float) -> None:
    """Of its copy nothing or half is there. ONNX takes nothing for a model, and ONNX Runtime doesn't."""
    tempfile.gettempdir()  # which Python finds by writing a file
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(onnx_file.stat().st_size * share), limits[1]))
    try:
        with pytest.raises(LstnError, match="cannot write a copy") as caught:
            measured(onnx_file, Noise(128), count=128)  # of fewer it warns, in a file of pytest's
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "TMPDIR" in caught.value.hint
    assert not onnx_file.with_suffix(".json").exists()


@pytest.mark.parametrize("method", [RangeMethod.PERCENTILE, RangeMethod.ENTROPY])
def test_values_that_no_histogram_can_divide_are_refused(onnx_file: Path, method: RangeMethod) -> None:
    """Such as those of a localizer's head that has hardly moved from zero."""
    model = onnx.load(onnx_file)
    for weight in model.graph.initializer:
        if weight.name.startswith("backbone.features.0."):
            weight.raw_data = np.full(tuple(weight.dims), 1e-44, np.float32).tobytes()
    onnx_file.write_bytes(model.SerializeToString())
    with pytest.raises(LstnError, match=f"no {method.value} ranges: .* too small") as caught:
        measured(onnx_file, Noise(20), method)
    assert caught.value.hint == "use --ranges minmax"
    assert measured(onnx_file, Noise(20)).tensors


def test_values_that_are_not_finite_are_refused(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    bias = next(weight for weight in model.graph.initializer if weight.name == "backbone.features.0.bias")
    bias.raw_data = np.full(tuple(bias.dims), np.inf, np.float32).tobytes()
    onnx_file.write_bytes(model.SerializeToString())
    with pytest.raises(LstnError, match="not finite"):
        measured(onnx_file, Noise(20))
    assert not onnx_file.with_suffix(".json").exists()
