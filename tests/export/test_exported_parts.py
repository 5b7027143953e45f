from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lstn.contract import Contract, Loc
from lstn.errors import LstnError, VerificationError
from lstn.export.onnx.exported_parts import write_default, write_part
from lstn.machine.gpu import Device
from lstn.nn.costs.taken_apart import Piece, build_models, default_of, take_apart
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.part_graphs import Library, open_graph

HW = (40, 40)


@pytest.fixture(scope="module")
def pieces() -> dict[str, Piece]:
    transformer = build_models("cnn", HW, ("a", "b"), 0)[Loc.LSTN].transformer
    assert transformer is not None
    return take_apart(transformer)


@pytest.mark.parametrize("name", ["transformer", "grid", "sampler"])
def test_a_part_computes_the_same_in_both_libraries(name: str, pieces: dict[str, Piece], tmp_path: Path) -> None:
    piece, path = pieces[name], tmp_path / f"{name}.onnx"
    write_part(piece.module, path, inputs=piece.inputs, outputs=piece.outputs, example=piece.example(2))
    inputs = piece.example(3)  # another batch than the file was made with
    with torch.inference_mode():
        answer = piece.module(*inputs)
    wanted = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    feeds = {key: tensor.numpy() for key, tensor in zip(piece.inputs, inputs, strict=True)}
    for library in Library:
        with open_graph(path, library, device=Device.CPU, threads=1) as run:
            found = run(feeds)
        assert set(found) == set(piece.outputs)
        for key, tensor in zip(piece.outputs, wanted, strict=True):
            np.testing.assert_allclose(found[key], tensor.numpy(), rtol=1e-3, atol=1e-4)


def test_the_grid_is_torchs(pieces: dict[str, Piece]) -> None:
    (theta,) = pieces["grid"].example(2)
    wanted = F.affine_grid(theta, [2, 3, *HW], align_corners=False)
    torch.testing.assert_close(pieces["grid"].module(theta), wanted, rtol=0, atol=1e-6)


def test_a_part_that_comes_out_differently_is_no_file(tmp_path: Path) -> None:
    class Fickle(nn.Module):
        """Computes one thing while it is exported and another afterwards."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * (2.0 if torch.compiler.is_exporting() else 3.0)

    with pytest.raises(VerificationError, match="differs from PyTorch"):
        write_part(Fickle(), tmp_path / "x.onnx", inputs=("a",), outputs=("b",), example=(torch.ones(2, 3),))
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_export_is_told_in_one_line(tmp_path: Path) -> None:
    class Unexportable(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if float(images.sum()) > 0 else -images

    with pytest.raises(LstnError, match="can't export b") as caught:
        write_part(Unexportable(), tmp_path / "x.onnx", inputs=("a",), outputs=("b",), example=(torch.ones(2, 3),))
    assert "\n" not in caught.value.message


def test_the_default_export_opens_and_answers_the_same(tmp_path: Path) -> None:
    contract = Contract(Loc.LSTN, "cnn", HW, ("a", "b"))
    model = build_models("cnn", HW, contract.labels, 0)[Loc.LSTN]
    path = tmp_path / "default.onnx"
    write_default(default_of(model, contract), path, contract)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits, theta = model(torch.from_numpy(pixels))
    with open_engine(path, device=Device.CPU, threads=1) as engine:
        assert engine.contract == contract
        prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, logits.numpy(), rtol=1e-3, atol=1e-3)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, theta.numpy(), rtol=1e-3, atol=1e-4)
