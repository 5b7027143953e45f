"""Images with sides of 8,192 pixels, as files and as the input of a model."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from benchmarks.support.loads.made_models import coloured, write_model
from benchmarks.support.loads.measured_run import EndedCommand, LoadRow, answered, mb, refused, run_lstn
from benchmarks.support.loads.served import served_answers

SIDE = 8192
_LABELS = tuple("0123456789")
_SHAPES = {"square": (SIDE, SIDE), "wide": (1, SIDE), "high": (SIDE, 1), "largest": (12_207, SIDE)}
_OVER = (12_208, SIDE)
"""The first height with more than the 100 million pixels that are read."""


def large_images(folder: Path) -> Iterator[LoadRow]:
    """Answer large files in each format, refuse one that is too large, and let a model take such sides itself."""
    write_model(folder / "model.onnx", _LABELS)
    for shape, (height, width) in _SHAPES.items():
        for suffix in ("png", "jpg", "webp"):
            image = _written(folder / f"{shape}.{suffix}", height, width)
            yield answered(f"{height} x {width}, {suffix}, {mb(image)}", _infer(folder, image))
    image = _written(folder / "over.png", *_OVER)
    yield refused(f"{_OVER[0]} x {_OVER[1]}, png", _infer(folder, image))
    ended = _infer(folder, image, "--max-megapixels", 101)
    yield answered(f"{_OVER[0]} x {_OVER[1]}, png, --max-megapixels 101", ended)
    yield from served_answers(folder / "model.onnx", folder / "square.jpg")
    (folder / "wide").mkdir()
    for height, width in ((32, SIDE), (SIDE, 32), (2048, SIDE)):
        model = folder / "wide" / f"{height}x{width}.onnx"
        write_model(model, _LABELS, (height, width))
        picture = folder / "square.jpg"
        ended = run_lstn("infer", picture, "--engine", model, "--batch", 1, cwd=folder)
        yield answered(f"a model of {height} x {width}, `lstn infer` of 8192 x 8192", ended)
    ended = run_lstn("train", "--model", "cnn", "--image-size", f"32x{SIDE}", cwd=folder)
    yield refused(f"`lstn train --image-size 32x{SIDE}`", ended)


def _infer(folder: Path, image: Path, *more: object) -> EndedCommand:
    return run_lstn("infer", image, "--engine", "model.onnx", "--batch", 1, *more, cwd=folder)


def _written(path: Path, height: int, width: int) -> Path:
    Image.fromarray(coloured(1)[0]).resize((width, height)).save(path)
    return path
