"""The C++ runner against `lstn infer`: the same pixels of every kind of file, the same rows, and the same refusals."""

import io
import json
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import PIL
import pytest
from command import RunLstn
from cpp_runner import build_runner, rows_of, run_program, told_pixels, write_telling_model
from onnx import helper, numpy_helper
from PIL import Image
from raw_png import DEPTHS, png_of, random_png
from tiny import Tiny, proto_of
from tiny_detector import tiny_detector

from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import load_float32, lowered_model
from lstn.calibration.ranges import ranges_of
from lstn.contract import METADATA_KEY, VERSION, Contract, Fit, Loc, ThetaForm
from lstn.data.dataset import open_data_of
from lstn.errors import ArtifactError
from lstn.images import decode
from lstn.imaging.framing import framing_of
from lstn.precision import Precision, RangeMethod
from lstn.zoo.named_models import model_path

HW = (10, 7)
ROUNDED_OTHERWISE = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1
"""Levels of 255: Pillow 13 filters some pictures' columns first, older ones always their rows."""

EXAMPLES = Path(__file__).parents[2] / "examples" / "images"


@pytest.fixture(scope="module")
def runner() -> Path:
    return build_runner()


def encoded(image: Image.Image, kind: str, *, orientation: int = 1, **options: object) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    image.save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def photo(height: int, width: int) -> Image.Image:
    random = np.random.default_rng(height)
    coarse = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    noisy = np.asarray(Image.fromarray(coarse).resize((width, height))) + random.normal(0, 9, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpegs() -> Iterator[bytes]:
    for size in ((150, 203), (40, 300), (10, 7), (5, 3)):  # scaled by 8, 4 or not; its own size; enlarged
        image = photo(*size)
        for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
            for progressive in (False, True):
                yield encoded(image, "JPEG", subsampling=subsampling, progressive=progressive)
        yield from (encoded(image, "JPEG", orientation=turn) for turn in range(2, 9))
        yield from (encoded(image.convert(mode), "JPEG") for mode in ("L", "CMYK"))
    yield encoded(photo(64, 64), "JPEG", keep_rgb=True)
    turned = encoded(photo(40, 31), "JPEG", orientation=6)
    yield turned[:20] + b"junk between two segments" + turned[20:]


def pngs() -> Iterator[bytes]:
    for colour, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                yield random_png(colour, depth, hw=(23, 31), key=False, interlaced=interlaced, seed=depth)
                if colour < 4:
                    yield random_png(colour, depth, hw=(23, 31), key=True, interlaced=interlaced, seed=depth)
    yield from (encoded(photo(60, 31), "PNG", orientation=turn) for turn in range(2, 9))
    yield png_of(np.array([[[0], [1], [3]]]), 3, 2, extra=[(b"PLTE", b"\xff\x80\x40\x20\x10\x08")])  # it lacks two
    yield png_of(np.full((9, 1, 1), 77), 0, 8, extra=[(b"tRNS", struct.pack(">H", 256 + 77))])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of every kind; their names lie, for the contents decide."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, data in enumerate((*jpegs(), *pngs())):
        (folder / f"{number:03d}.dat").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("fit", Fit)
def test_every_picture_becomes_the_same_pixels(runner: Path, pictures: list[Path], tmp_path: Path, fit: Fit) -> None:
    contract = write_telling_model(tmp_path / "model.onnx", HW, fit)
    ran = run_program(runner, "--engine", tmp_path / "model.onnx", "--top", len(contract.labels), *pictures)
    assert ran.code == 0, ran.err
    rows = rows_of(ran.out)
    assert [row["path"] for row in rows] == [str(picture) for picture in pictures]
    for picture, row in zip(pictures, rows, strict=True):
        wanted = decode(picture, HW, framing=framing_of(contract))
        found = told_pixels(row, HW, int(wanted.max())).astype(int)
        assert np.abs(found - wanted).max() <= ROUNDED_OTHERWISE, picture


def int8_of(path: Path, out: Path) -> Path:
    """Lower a model that knows digits, with ranges of a few images."""
    contract, model = load_float32(path)
    split = open_data_of(contract, "digits", seed=0).train
    cache = out.with_suffix(".ranges.json")
    ranges = ranges_of(path, split, method=RangeMethod.MINMAX, count=16, seed=0, cache=cache)
    lowered = lowered_model(model, Precision.INT8, kept_layers(layer_names(model), ["localizer"]), ranges)
    onnx.save(lowered, out)
    return out


def check_same_rows(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [list(row) for row in found] == [list(row) for row in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert [guess["label"] for guess in ours.get("top", ())] == [guess["label"] for guess in theirs.get("top", ())]
        for name, value in theirs.items():
            if name == "top":
                assert [g["probability"] for g in ours[name]] == pytest.approx(
                    [g["probability"] for g in value], abs=1e-4
                )
            elif name == "theta":
                np.testing.assert_allclose(ours[name], value, atol=1e-4)
            elif name == "probability":
                assert ours[name] == pytest.approx(value, abs=1e-4)
            else:
                assert ours[name] == value


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_rows_are_those_of_lstn_infer(runner: Path, run_lstn: RunLstn, tmp_path: Path, precision: str) -> None:
    engine = model_path("zoo:digits")
    if precision == "int8":
        engine = int8_of(engine, tmp_path / "model.int8.onnx")
    given = ["--engine", engine, "--top", 3, "--threads", 1, *sorted(EXAMPLES.iterdir())]
    wanted = run_lstn("infer", *given, "--format", "jsonl")
    found = run_program(runner, *given)
    assert (found.code, wanted.code) == (0, 0)
    check_same_rows(rows_of(found.out), rows_of(wanted.out))


def write_tiny(path: Path, contract: Contract) -> Tiny:
    random = np.random.default_rng(0)
    weights, theta_weights = (
        random.normal(size=(3, size)).astype(np.float32) / 500
        for size in (len(contract.labels), int(np.prod(contract.theta_shape)))
    )
    tiny = Tiny(path, contract, weights, theta_weights)
    onnx.save(proto_of(tiny), path)
    return tiny


CONTRACT = Contract(Loc.LSTN, "cnn", (8, 8), ("ant", "bée 🐝", 'a "quoted" \\ name', "tab\tline\n"))


@pytest.mark.parametrize(
    "contract",
    [
        *(replace(CONTRACT, theta=form) for form in ThetaForm),
        replace(CONTRACT, warps=3),
        replace(CONTRACT, loc=Loc.GLANCE, theta=ThetaForm.TPS, warps=2, view_hw=(4, 4), crop_hw=(4, 4)),
        replace(CONTRACT, loc=Loc.NONE, fit=Fit.LETTERBOX, mean=(0.5, 1.2, -3.0)),
    ],
)
def test_every_theta_and_label_is_written_alike(
    runner: Path, run_lstn: RunLstn, tmp_path: Path, contract: Contract
) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", contract)
    photo(30, 20).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", "--engine", tiny.path, "--top", 99]
    wanted, found = run_lstn("infer", *given, "--format", "jsonl"), run_program(runner, *given)
    assert found.code == 0
    check_same_rows(rows_of(found.out), rows_of(wanted.out))
    assert found.out.isascii()


def test_names_come_back_as_pathlib_writes_them(runner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path / "model.onnx", CONTRACT)
    monkeypatch.chdir(tmp_path)
    typed = [b"./a//b.png", b"\xff\xc3.png", "ü\n🐝.png".encode(), b"x/../c.png", b"-d.png"]
    Path("a").mkdir()
    Path("x").mkdir()
    paths = [Path(name.decode(errors="surrogateescape")) for name in typed]
    for path in paths:
        path.write_bytes(encoded(photo(9, 9), "PNG"))
    ran = run_program(runner, "--engine", "model.onnx", "--", *typed)
    assert [row["path"] for row in rows_of(ran.out)] == [str(path) for path in paths]


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"hello, I am no image\n",
    "cut.jpg": encoded(photo(200, 200), "JPEG")[:3000],
    "without-end.jpg": encoded(photo(20, 20), "JPEG")[:-2],
    "cut.png": encoded(photo(64, 64), "PNG")[:900],
    "header-alone.jpg": encoded(photo(64, 64), "JPEG")[:200],
    "sum.png": encoded(photo(9, 9), "PNG").replace(b"eXIfMM", b"eXIfII"),
    "bomb.png": b"\x89PNG\r\n\x1a\n" + png_of(np.zeros((1, 1, 1), int), 0, 8)[8:16]
    + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0),
}  # fmt: skip


def test_a_broken_image_is_a_row_and_the_run_goes_on(runner: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", CONTRACT)
    images = [tmp_path / name for name in BROKEN]
    for image in images:
        image.write_bytes(BROKEN[image.name])
    images[-1:-1] = [tmp_path / "huge.jpg", tmp_path / "good.png", tmp_path / "wide.jpg"]
    with images[-4].open("wb") as file:
        file.truncate((256 << 20) + 1)
    photo(9, 9).save(images[-3])
    wide = encoded(photo(16, 16), "JPEG")
    frame = wide.index(b"\xff\xc0") + 5
    images[-2].write_bytes(wide[:frame] + struct.pack(">HH", 10_001, 10_000) + wide[frame + 4 :])
    given = [*images, "--engine", tiny.path]
    wanted, found = run_lstn("infer", *given, "--format", "jsonl"), run_program(runner, *given)
    assert (found.code, wanted.code) == (1, 1)
    failed = [row["path"] for row in rows_of(found.out) if "error" in row]
    assert failed == [str(image) for image in images if image.name != "good.png"]
    errors = {Path(row["path"]).name: row.get("error", "") for row in rows_of(found.out)}
    theirs = {Path(row["path"]).name: row.get("error", "") for row in rows_of(wanted.out)}
    for name in ("empty.jpg", "wide.jpg", "huge.jpg"):
        assert errors[name] == theirs[name]
    assert errors["cut.jpg"] == errors["without-end.jpg"] == "damaged image (image file is truncated)"
    assert found.err.splitlines()[1:] == wanted.err.splitlines()[-2:]


def test_files_of_other_kinds_are_named_so(runner: Path, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", CONTRACT)
    (tmp_path / "a.jpg").write_bytes(encoded(photo(9, 9), "BMP"))
    ran = run_program(runner, "--engine", tiny.path, tmp_path / "a.jpg")
    assert (ran.code, rows_of(ran.out)[0]["error"]) == (1, "not a JPEG or PNG file")


def test_an_answer_that_is_not_a_number_is_an_error(runner: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", CONTRACT)
    model = onnx.load(tiny.path)
    weights = next(each for each in model.graph.initializer if each.name == "theta_weights")
    weights.CopyFrom(numpy_helper.from_array(np.full((3, 6), np.float32(np.inf)), "theta_weights"))
    onnx.save(model, tiny.path)
    photo(9, 9).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", "--engine", tiny.path]
    wanted, found = run_lstn("infer", *given, "--format", "jsonl"), run_program(runner, *given)
    assert (found.code, rows_of(found.out)) == (wanted.code, rows_of(wanted.out))
    assert "error" in rows_of(found.out)[0]


def edited(path: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    write_tiny(path, CONTRACT)
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())


def saying(**fields: object) -> Callable[[onnx.ModelProto], object]:
    """Change fields of the contract; None takes one away."""

    def edit(model: onnx.ModelProto) -> None:
        said = json.loads(model.metadata_props[0].value) | fields
        kept = {name: value for name, value in said.items() if value is not None}
        helper.set_model_props(model, {METADATA_KEY: json.dumps(kept)})

    return edit


def text(contract: str) -> Callable[[onnx.ModelProto], object]:
    return lambda model: helper.set_model_props(model, {METADATA_KEY: contract})


def external(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")


def hidden(model: onnx.ModelProto) -> None:
    """Weights in another file, in a tensor within an attribute of a nested graph."""
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["pixels"], ["never"], then_branch=inner)
    tensor = node.attribute[0].g.node.add(op_type="Constant").attribute.add(name="value", type=4).t
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(node)


def half_pixels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


REFUSED = {
    f"contract version {VERSION + 1}": saying(version=VERSION + 1),
    "contract version true": saying(version=True),
    "contract version null": saying(version=None),
    "'labels' is missing": saying(labels=None),
    "labels: expected": saying(labels=["a", "b" * 201]),
    "image_hw: expected": saying(image_hw=[8, 8193]),
    "mean: expected": saying(mean=[0, 1, "a"]),
    "loc: unknown": saying(loc="nobody"),
    "version 1 knows no loc glance": saying(loc="glance"),
    "'loc' stands twice": text('{"loc": "stn", "loc": "lstn"}'),
    "damaged contract": text("[" * 100_000),
    "its contract says": saying(labels=["a", "b"]),
    "its inputs are": half_pixels,
    "keeps weights in other files": external,
    "weights in other files": hidden,
    "no contract": lambda model: model.ClearField("metadata_props"),
    "no graph": lambda model: model.ClearField("graph"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_model_that_cannot_be_trusted_is_refused(runner: Path, run_lstn: RunLstn, tmp_path: Path, told: str) -> None:
    edited(tmp_path / "model.onnx", REFUSED[told])
    photo(9, 9).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", "--engine", tmp_path / "model.onnx"]
    found = run_program(runner, *given)
    assert (found.code, found.out) == (run_lstn("infer", *given).code, "") == (1, "")
    assert found.err.startswith(f"error: {tmp_path / 'model.onnx'}: ")
    assert told in found.err
    assert len(found.err.splitlines()) <= 2


def test_names_are_known_from_the_same_versions_on(runner: Path, tmp_path: Path) -> None:
    """What a new version of the contract has is to be known here too."""
    photo(9, 9).save(tmp_path / "a.png")
    path, differ = tmp_path / "model.onnx", []
    for field, value in (*(("loc", loc.value) for loc in Loc), *(("theta", form.value) for form in ThetaForm)):
        said = {"loc": Loc.LSTN, "theta": ThetaForm.AFFINE, field: type(getattr(CONTRACT, field))(value)}
        write_tiny(path, replace(CONTRACT, **said))
        model = onnx.load(path)
        for version in (2, 3, 4, VERSION):
            text = json.dumps(asdict(replace(CONTRACT, **said)) | {"version": version})
            helper.set_model_props(model, {METADATA_KEY: text})
            onnx.save(model, path)
            code = run_program(runner, "--engine", path, tmp_path / "a.png").code
            if (code == 0) != readable(text):
                differ.append((field, value, version))
    assert differ == []


def readable(text: str) -> bool:
    try:
        Contract.from_json(text, source="a test")
    except ArtifactError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_model_that_is_cut_off_is_refused(runner: Path, tmp_path: Path, size: int) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", CONTRACT)
    tiny.path.write_bytes(tiny.path.read_bytes()[:size])
    photo(9, 9).save(tmp_path / "a.png")
    ran = run_program(runner, "--engine", tiny.path, tmp_path / "a.png")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"error: {tiny.path}: ")


def test_a_detector_is_refused_by_its_task(runner: Path, tmp_path: Path) -> None:
    tiny = tiny_detector(tmp_path / "model.onnx")
    photo(9, 9).save(tmp_path / "a.png")
    ran = run_program(runner, "--engine", tiny.path, tmp_path / "a.png")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {tiny.path}: a model of task detect, and this program classifies\n  use lstn infer\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.png"], "no model is named"),
        (["--engine", "model.onnx"], "no images are named"),
        (["--engine", "model.onnx", "lost.png"], "lost.png: No such file"),
        (["--engine", "model.onnx", "."], ".: a folder"),
        (["--engine", "model.onnx", "a.png", "--top", "0"], "--top 0: expected"),
        (["--engine", "model.onnx", "a.png", "--threads", "many"], "--threads many: expected"),
        (["--engine", "model.onnx", "a.png", "--fast"], "no such option: --fast"),
        (["a.png", "--engine"], "--engine needs a value"),
        (["--engine", "model.onnx", "\x1b[31m.png"], "\\x1b[31m.png: No such file"),
    ],
)
def test_wrong_use_ends_with_2_before_any_row(
    runner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "model.onnx", CONTRACT)
    photo(9, 9).save("a.png")
    ran = run_program(runner, *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {told}")


def test_output_that_cannot_be_written_is_one_line(runner: Path, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "model.onnx", CONTRACT)
    photo(9, 9).save(tmp_path / "a.png")
    command = [runner, "--engine", tiny.path, tmp_path / "a.png"]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (1, "error: output: No space left on device\n")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as left:
        left.stdout.close()
        assert (left.wait(), left.stderr.read()) == (1, "")


def test_help_names_every_option(runner: Path) -> None:
    ran = run_program(runner, "--help")
    assert ran.code == 0
    assert all(option in ran.out for option in ("--engine", "--top", "--threads"))
