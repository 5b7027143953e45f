import json
from pathlib import Path

import pytest

from lstn.errors import ArtifactError
from lstn.plan import MAGIC, Flavour, read_sidecar, sidecar_path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch", [1, 8, float("inf")]),
        ("batch", [1, 8, float("nan")]),
        ("batch", [1, 8]),
        ("batch", None),
        ("flavour", []),
        ("inputs", [{"name": "pixels", "dtype": "UINT8", "shape": [float("inf")]}]),
        ("inputs", {"name": "pixels"}),
    ],
)
def test_a_damaged_sidecar_is_one_error(plan: Path, field: str, value: object) -> None:
    path = sidecar_path(plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ArtifactError, match="damaged sidecar"):
        read_sidecar(plan)


def test_every_flavour_has_a_product_a_module_and_a_magic_number() -> None:
    assert all(flavour.product and flavour.module for flavour in Flavour)
    assert set(MAGIC.values()) == set(Flavour)
