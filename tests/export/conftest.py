import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from small_models import SIDE, Exported, ExportOnce, warping_model
from tiny_fixtures import run_lstn

from lstn.contract import PAPER_LOCS, Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.images import Pixels

__all__ = ["run_lstn"]


@pytest.fixture(scope="session")
def images() -> Pixels:
    return sample_images("digits", (SIDE, SIDE), seed=0, count=32)


@pytest.fixture(scope="session")
def export_once(tmp_path_factory: pytest.TempPathFactory, images: Pixels) -> ExportOnce:
    made: dict[Loc, Exported] = {}

    def export(loc: Loc) -> Exported:
        if loc not in made:
            model, contract = warping_model(loc)
            path = tmp_path_factory.mktemp(loc.value) / "model.onnx"
            made[loc] = Exported(model, contract, path, write_onnx(model, path, contract, images), images)
        return made[loc]

    return export


@pytest.fixture(params=list(PAPER_LOCS), ids=lambda loc: loc.value)
def exported(request: pytest.FixtureRequest, export_once: ExportOnce) -> Exported:
    """Each localizer in front of `cnn`."""
    return export_once(request.param)


@pytest.fixture
def exported_lstn(export_once: ExportOnce) -> Exported:
    return export_once(Loc.LSTN)


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
