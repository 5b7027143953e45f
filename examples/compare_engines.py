"""Run the same images through two engines: do they agree, and which one is faster?

    python examples/compare_engines.py model.onnx model.xml photos/

Without arguments: a small model in ONNX Runtime and in OpenVINO.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from own_images import SIDE, sign_folder, small_model

import lstn
from lstn.images import decode
from lstn.warps.warp import drift_px

ROUNDS = 30


def compare(first: Path, second: Path, folder: Path) -> None:
    """Print agreement and drift over a folder, and the latency of one image, measured in turns."""
    images = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    with lstn.open_engine(first, threads=1) as one, lstn.open_engine(second, threads=1) as other:
        answers = [one.classify(images), other.classify(images)]
        same = sum(mine.label == theirs.label for mine, theirs in zip(*answers, strict=True))
        print(f"{same} of {len(images)} images get the same label")
        pixels = decode(images[0], one.contract.image_hw)[None]
        thetas = [engine.infer(pixels).theta for engine in (one, other)]
        if thetas[0] is not None and thetas[1] is not None:
            print(f"drift {drift_px(thetas[0], thetas[1], one.contract.image_hw)[0]:.4f} px")
        took_ms: dict[Path, list[float]] = {first: [], second: []}
        for _ in range(ROUNDS):
            for path, engine in ((first, one), (second, other)):
                began = time.perf_counter()
                engine.infer(pixels)
                took_ms[path].append(1000 * (time.perf_counter() - began))
    for path, times in took_ms.items():
        print(f"{path.name:12} {statistics.median(times):.2f} ms")
    print("for intervals, and batches: lstn bench", first.name, second.name)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        compare(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        from lstn.export.openvino.to_openvino import write_openvino

        with TemporaryDirectory() as temporary:
            photos = sign_folder(Path(temporary) / "signs", each=40)
            onnx_file = small_model(photos, Path(temporary))
            shown = np.stack([decode(path, (SIDE, SIDE)) for path in photos.glob("*/1*.png")])
            write_openvino(onnx_file, onnx_file.with_suffix(".xml"), shown)
            compare(onnx_file, onnx_file.with_suffix(".xml"), photos / "stop")
