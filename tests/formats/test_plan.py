import dataclasses
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.errors import ArtifactError
from lstn.formats.plan_file import (
    MAGIC,
    RTX_TARGETS,
    Flavour,
    Sidecar,
    read_header,
    read_sidecar,
    runs_compatible_plans,
    sidecar_path,
)
from lstn.formats.training_record import Training


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profiles", [[1, 8, float("inf")]]),
        ("profiles", [[1, 8, float("nan")]]),
        ("profiles", [[1, 8]]),
        ("profiles", [[1, 8, 32, 64]]),
        ("profiles", [1, 8, 32]),
        ("profiles", [[8, 1, 32]]),
        ("profiles", [[0, 8, 32]]),
        ("profiles", []),
        ("profiles", None),
        ("flavour", []),
        ("dla_core", "one"),
        ("dla_core", -1),
        ("dla_core", 1 << 70),
        ("dla_core", [0]),
        ("inputs", [{"name": "pixels", "dtype": "UINT8", "shape": [float("inf")]}]),
        ("inputs", {"name": "pixels"}),
    ],
)
def test_a_damaged_sidecar_is_one_error(plan: Path, field: str, value: object) -> None:
    path = sidecar_path(plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ArtifactError, match="damaged sidecar"):
        read_sidecar(plan)


LATER = ("training", "compared_images", "tf32")


@pytest.mark.parametrize("field", LATER)
def test_what_lstn_0_1_did_not_write_is_read_as_unknown(plan: Path, field: str) -> None:
    path = sidecar_path(plan)
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    assert not getattr(read_sidecar(plan), field)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Sidecar) if field.name not in LATER])
def test_every_field_must_be_there(plan: Path, field: str) -> None:
    path = sidecar_path(plan)
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(ArtifactError, match=f"damaged sidecar .*'{field}'"):
        read_sidecar(plan)


@pytest.mark.parametrize("value", ["true", 1, "yes", [True], None])
@pytest.mark.parametrize("field", ["hardware_compatible", "version_compatible"])
def test_compatible_is_what_says_so_and_nothing_else(plan: Path, field: str, value: object) -> None:
    path = sidecar_path(plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ArtifactError, match=f"damaged sidecar .{field}: expected bool"):
        read_sidecar(plan)


PROFILE = st.lists(st.integers(1, 999), min_size=3, max_size=3).map(lambda sizes: tuple(sorted(sizes)))


@given(
    profiles=st.lists(PROFILE, min_size=1, max_size=4),
    gpu=st.text(max_size=40),
    compatible=st.booleans(),
    dla_core=st.none() | st.integers(0, 7),
    training=st.none() | st.builds(Training, st.text(max_size=9), st.integers(0, 9), st.integers(0, 9), st.just(0.5)),
)
def test_what_is_written_is_read_again(
    built_plan: Path,
    tmp_path_factory: pytest.TempPathFactory,
    profiles: list[tuple[int, int, int]],
    gpu: str,
    compatible: bool,
    dla_core: int | None,
    training: Training | None,
) -> None:
    plan = tmp_path_factory.mktemp("again") / "model.plan"
    plan.symlink_to(built_plan)
    sidecar = dataclasses.replace(
        read_sidecar(built_plan),
        profiles=tuple(profiles),
        gpu=gpu,
        hardware_compatible=compatible,
        version_compatible=not compatible,
        dla_core=dla_core,
        training=training,
    )
    sidecar_path(plan).write_text(sidecar.to_json(), encoding="utf-8")
    assert read_sidecar(plan) == sidecar


@given(profiles=st.lists(PROFILE, min_size=1, max_size=4))
def test_the_batch_spans_all_profiles(built_plan: Path, profiles: list[tuple[int, int, int]]) -> None:
    low, optimum, high = dataclasses.replace(read_sidecar(built_plan), profiles=tuple(profiles)).batch
    sizes = [size for profile in profiles for size in profile]
    assert (low, high) == (min(sizes), max(sizes))
    assert optimum in [profile[1] for profile in profiles if profile[2] == high]


@pytest.mark.parametrize(
    ("profiles", "read"),
    [
        (((1, 8, 32),), "1 to 32, fastest at 8"),
        (((1, 1, 1), (2, 8, 32)), "1; 2 to 32, fastest at 8"),
        (((8, 8, 8),), "8"),
    ],
)
def test_batches_as_a_person_reads_them(
    built_plan: Path, profiles: tuple[tuple[int, int, int], ...], read: str
) -> None:
    assert dataclasses.replace(read_sidecar(built_plan), profiles=profiles).batches == read


@pytest.mark.parametrize("size", [(1 << 31) + 5, (1 << 32) + 5])
def test_a_plan_of_more_than_2_gb_and_than_4(plan: Path, size: int) -> None:
    head = bytearray(plan.read_bytes()[:64])
    struct.pack_into("<Q", head, 16, size)
    with plan.open("wb") as file:
        file.write(head)
        file.truncate(size)  # a hole, which takes no space on the disk
    assert read_header(plan).payload_bytes == size
    with plan.open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(ArtifactError, match=f"cut off, {size - 1} of at least {size} bytes"):
        read_header(plan)


def test_hardware_compatible_plans_run_where_nvidia_says() -> None:
    """On Ampere and newer, which are all that TensorRT for RTX knows but Turing; on no Jetson."""
    assert [target for target in RTX_TARGETS if not runs_compatible_plans(target)] == ["sm75"]
    assert runs_compatible_plans("sm90")
    assert not any(runs_compatible_plans(target) for target in ("sm70", "sm72", "sm87", "sm101", "sm110"))


def test_every_flavour_has_a_product_a_module_and_a_magic_number() -> None:
    assert all(flavour.product and flavour.module for flavour in Flavour)
    assert set(MAGIC.values()) == set(Flavour)
