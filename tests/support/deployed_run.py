"""A short run of any task, the files that are made of it, and what tests ask of all of them."""

from pathlib import Path
from typing import Any

import numpy as np
from command import RunLstn
from short_runs import run

from lstn.data.splits import Split
from lstn.evaluation.answer import Logits
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.export.openvino.to_openvino import write_openvino
from lstn.nn.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint
from lstn.nn.checkpoint_answers import answering_of
from lstn.runtime.engines.opening import open_engine
from lstn.train.runs.options import Options
from lstn.warps.warp import Theta


def deploy(folder: Path, chosen: Options, images: Split | None) -> None:
    """Train in `folder`/run, and write model.onnx and model.xml next to it; a generator is converted without images."""
    run(chosen, folder / "run")
    export_checkpoint(load_checkpoint(folder / "run" / CHECKPOINT), folder / "model.onnx", tell=lambda text: None)
    write_openvino(folder / "model.onnx", folder / "model.xml", None if images is None else pixels_of(images)[:8])


def pixels_of(images: Split) -> Any:
    """Return all images of a split, (N, H, W, 3) uint8."""
    return np.stack([images[index][0] for index in range(len(images))])


def check_as_pytorch(file: Path, checkpoint: Checkpoint, pixels: Any) -> tuple[Logits, Theta]:
    """Check that an engine answers as PyTorch does, and return PyTorch's logits and theta."""
    logits, theta = answering_of(checkpoint.model.eval()).both(pixels)
    with open_engine(file) as engine:
        answer = engine.infer(pixels)
    assert answer.theta is not None
    assert theta is not None
    np.testing.assert_allclose(answer.logits, logits, atol=1e-4 * np.abs(logits).max())
    np.testing.assert_allclose(answer.theta, theta, atol=1e-4)
    return logits, theta


def check_refused(run_lstn: RunLstn, words: tuple[object, ...], *says: str, code: int = 2) -> None:
    """Check that a command that is run in the current folder says why it can't, in words, and leaves nothing."""
    before = {path.name for path in Path.cwd().iterdir()}
    ran = run_lstn(*words)
    assert ran.code == code, ran.err
    assert all(each in ran.err for each in says), ran.err
    assert "Traceback" not in ran.err
    assert {path.name for path in Path.cwd().iterdir()} == before
