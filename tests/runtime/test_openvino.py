import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import SIDE, MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import ArtifactError, DeviceError, MissingExtra, UsageError
from lstn.runtime.openvino import OpenVinoGraph, open_openvino

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3])
def test_answers_what_the_model_computes(tiny: Tiny, count: int) -> None:
    pixels = RANDOM.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    with open_openvino(tiny.path, threads=1) as engine:
        assert engine.contract == tiny.contract
        prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), rtol=1e-5, atol=1e-5)


def test_an_answer_is_the_callers_to_keep(tiny: Tiny) -> None:
    black, white = (np.full((1, SIDE, SIDE, 3), level, np.uint8) for level in (0, 255))
    with open_openvino(tiny.path, threads=1) as engine:
        first = engine.infer(black)
        engine.infer(white)
    np.testing.assert_allclose(first.logits, 0, atol=1e-6)


def test_a_model_without_a_localizer_has_no_theta(make_tiny: MakeTiny) -> None:
    with open_openvino(make_tiny(loc=Loc.NONE).path, threads=None) as engine:
        assert engine.infer(np.zeros((2, SIDE, SIDE, 3), np.uint8)).theta is None


def test_other_pixels_are_refused(tiny: Tiny) -> None:
    with open_openvino(tiny.path, threads=1) as engine, pytest.raises(UsageError, match="wanted uint8"):
        engine.infer(np.zeros((1, SIDE, SIDE, 4), np.uint8))


def test_a_file_without_a_contract_is_refused(make_tiny: MakeTiny) -> None:
    path = make_tiny(edit=lambda model: model.ClearField("metadata_props")).path
    with pytest.raises(ArtifactError, match="no contract"), open_openvino(path, threads=1):
        pass


def test_what_openvino_says_is_one_line_without_its_own_source(tiny: Tiny, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ArtifactError) as caught:
        OpenVinoGraph(broken, threads=1)
    assert "\n" not in caught.value.message
    assert "Exception from" not in caught.value.message
    with pytest.raises(DeviceError, match="OpenVINO failed"):
        OpenVinoGraph(tiny.path, threads=1).run({"paxels": np.zeros((1, SIDE, SIDE, 3), np.uint8)})


def test_without_openvino_the_error_names_the_extra(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra) as caught, open_openvino(tiny.path, threads=1):
        pass
    assert "lstn[openvino]" in caught.value.hint
