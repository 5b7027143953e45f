"""Triton's configuration of models whose theta has another shape."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tiny import MakeTiny
from tiny_fixtures import make_tiny
from tritonclient.grpc import model_config_pb2 as schema

from lstn.contract import ThetaForm
from lstn.export.triton.to_triton import write_triton

__all__ = ["make_tiny"]


@pytest.mark.parametrize(
    ("form", "dims"), [(ThetaForm.PROJECTIVE, [3, 3]), (ThetaForm.TPS, [16, 2]), (ThetaForm.POLAR, [2, 3])]
)
def test_theta_is_told_in_its_shape(make_tiny: MakeTiny, tmp_path: Path, form: ThetaForm, dims: list[int]) -> None:
    version = write_triton(make_tiny(form=form).path, tmp_path / "repository")
    config = text_format.Parse((version.parent / "config.pbtxt").read_text(), schema.ModelConfig())
    assert {each.name: list(each.dims) for each in config.output} == {"logits": [4], "theta": dims}
