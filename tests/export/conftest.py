import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from small_models import SIDE, Exported, ExportOnce, exported_once
from tiny_fixtures import run_lstn

from lstn.contract import PAPER_LOCS, Loc
from lstn.export.onnx.verify_onnx import sample_images
from lstn.formats.node_names import ModelPart, part_of
from lstn.images import Pixels

__all__ = ["run_lstn"]


@pytest.fixture(scope="session")
def images() -> Pixels:
    return sample_images("digits", (SIDE, SIDE), seed=0, count=32)


@pytest.fixture(scope="session")
def export_once() -> ExportOnce:
    return lambda loc: exported_once(loc, "cnn")


@pytest.fixture(params=list(PAPER_LOCS), ids=lambda loc: loc.value)
def exported(request: pytest.FixtureRequest) -> Exported:
    """Each localizer in front of `cnn`."""
    return exported_once(request.param, "cnn")


@pytest.fixture
def exported_lstn() -> Exported:
    return exported_once(Loc.LSTN, "cnn")


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow beyond some bytes: the system's own refusal, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


class _Batches(CalibrationDataReader):
    def __init__(self, images: Pixels) -> None:
        self._batches: Iterator[dict[str, Pixels]] = iter([{"pixels": images[:16]}])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """L-STN with its backbone as Q/DQ: symmetric, per channel, biases left alone."""
    exported = exported_once(Loc.LSTN, "cnn")
    path = tmp_path_factory.mktemp("int8") / "model.int8.onnx"
    proto = onnx.load(exported.path)
    quantize_static(
        exported.path,
        path,
        _Batches(exported.images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        nodes_to_exclude=[node.name for node in proto.graph.node if part_of(node.name) is not ModelPart.BACKBONE],
        per_channel=True,
        reduce_range=True,  # 7 bits of the weights: without VNNI a CPU saturates sums of 8 by 8 bits
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    made = onnx.load(path)
    del made.metadata_props[:]
    made.metadata_props.extend(proto.metadata_props)
    onnx.save(made, path)
    return path
