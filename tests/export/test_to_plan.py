import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import onnx
import pytest
import tensorrt_rtx
from full_tensorrt import VERSION, FullTensorrt
from hypothesis import given
from hypothesis import strategies as st
from small_models import Exported, ExportOnce

from lstn.contract import Loc
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning
from lstn.export.tensorrt.to_plan import is_stale_plan, parse_batches, parse_targets, write_plan
from lstn.files import sha256_of
from lstn.formats.plan_file import Flavour, Sidecar, Tensor, read_header, read_sidecar, sidecar_path
from lstn.machine.gpu import Gpu

USUAL = BatchRange(1, 8, 32)


def write(onnx_file: Path, plan: Path, *targets: str, profiles: tuple[BatchRange, ...] = (USUAL,)) -> Sidecar:
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=profiles, targets=targets or ("sm89",))
    return write_plan(onnx_file, plan, settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_localizer_becomes_a_plan_for_two_gpus(exported: Exported, tmp_path: Path) -> None:
    plan = tmp_path / "new" / "model.plan"
    sidecar = write(exported.path, plan, "sm86", "sm89")
    assert sidecar == read_sidecar(plan)
    assert read_header(plan).flavour is Flavour.TRT_RTX
    assert sorted(path.name for path in plan.parent.iterdir()) == ["model.plan", "model.plan.json"]
    logits = (Tensor("logits", "FLOAT", (-1, 10)),)
    assert sidecar == Sidecar(
        contract=exported.contract,
        plan_sha256=sha256_of(plan),
        onnx_sha256=sha256_of(exported.path),
        flavour=Flavour.TRT_RTX,
        version=tensorrt_rtx.__version__,
        targets=("sm86", "sm89"),
        profiles=((1, 8, 32),),
        precision="fp32",
        inputs=(Tensor("pixels", "UINT8", (-1, 48, 48, 3)),),
        outputs=logits if exported.contract.loc is Loc.NONE else (*logits, Tensor("theta", "FLOAT", (-1, 2, 3))),
    )


def test_several_profiles_are_in_the_plan_in_their_order(exported_lstn: Exported, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    profiles = (BatchRange(2, 8, 32), BatchRange(1, 1, 1))
    assert write(exported_lstn.path, plan, profiles=profiles).profiles == profiles
    assert read_sidecar(plan).profiles == profiles
    one = tmp_path / "one.plan"
    write(exported_lstn.path, one, profiles=profiles[:1])
    assert plan.stat().st_size > 1.5 * one.stat().st_size


def test_what_tensorrt_was_asked_for_is_in_the_sidecar(
    exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", FullTensorrt())
    monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: (Gpu("NVIDIA H200", "sm90", 140_000),))
    tuning = Tuning(hardware_compatible=True, version_compatible=True)
    settings = BuildSettings(flavour=Flavour.TRT, profiles=(USUAL,), targets=("sm90",), tuning=tuning)
    sidecar = write_plan(exported_lstn.path, tmp_path / "model.plan", settings)
    found = (sidecar.gpu, sidecar.version, sidecar.targets, sidecar.hardware_compatible, sidecar.version_compatible)
    assert found == ("NVIDIA H200", VERSION, ("sm90",), True, True)
    assert sidecar.dla_core is None
    assert read_sidecar(tmp_path / "model.plan") == sidecar


def test_ctrl_c_leaves_the_older_pair_and_nothing_else(exported_lstn: Exported, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"

    def press(share: float, phase: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(USUAL,), targets=("sm89",))
    for _ in range(2):  # without an older pair, then with one
        before = contents(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            write_plan(exported_lstn.path, plan, settings, report=press)
        assert contents(tmp_path) == before
        write(exported_lstn.path, plan)


@pytest.mark.parametrize("name", ["model.onnx", "model.plan", "model.plan.json", "../here/model.plan"])
def test_a_log_in_place_of_the_model_is_refused(exported_lstn: Exported, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(exported_lstn.path, folder / "model.onnx")
    before = contents(folder)
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(USUAL,), targets=("sm89",), log_file=folder / name)
    with pytest.raises(UsageError, match=r"this command reads that file|what is written there is a build log"):
        write_plan(folder / "model.onnx", folder / "model.plan", settings)
    assert contents(folder) == before


def test_a_plan_says_which_onnx_file_it_is_of(exported_lstn: Exported, export_once: ExportOnce, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    assert not is_stale_plan(plan, exported_lstn.path)  # there is none
    write(exported_lstn.path, plan)
    assert not is_stale_plan(plan, exported_lstn.path)
    assert is_stale_plan(plan, export_once(Loc.STN).path)
    sidecar_path(plan).unlink()
    assert is_stale_plan(plan, exported_lstn.path)


@pytest.mark.parametrize("space", [0, 200_000])
def test_a_full_disk_leaves_the_older_pair(
    exported_lstn: Exported, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], space: int
) -> None:
    plan = tmp_path / "model.plan"
    with full_disk(space), pytest.raises(LstnError, match=r"cannot write .*model\.plan"):
        write(exported_lstn.path, plan)
    assert contents(tmp_path) == {}
    write(exported_lstn.path, plan)
    before = contents(tmp_path)
    with full_disk(space), pytest.raises(LstnError, match="cannot write"):
        write(exported_lstn.path, plan, profiles=(BatchRange(1, 1, 1),))
    assert contents(tmp_path) == before
    read_sidecar(plan)


def test_a_sidecar_that_cannot_be_written_keeps_its_plan_back(exported_lstn: Exported, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    sidecar_path(plan).mkdir()
    with pytest.raises(LstnError, match=r"cannot write .*model\.plan\.json"):
        write(exported_lstn.path, plan)
    assert contents(tmp_path) == {}


def test_a_failed_build_leaves_the_older_pair(exported_lstn: Exported, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    write(exported_lstn.path, plan)
    before = contents(tmp_path)
    with pytest.raises(LstnError, match="sm75"):
        write(exported_lstn.path, plan, "sm75")
    assert contents(tmp_path) == before


def test_a_batch_beyond_tensorrts_count_is_refused(exported_lstn: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than TensorRT takes") as caught:
        write(exported_lstn.path, tmp_path / "model.plan", profiles=(BatchRange(1, 8, 999_999),))
    assert caught.value.hint == f"use --batch-profile with a maximum of {(2**31 - 1) // (48 * 48 * 3)} or less"


def test_what_lstn_did_not_write_is_refused(exported_lstn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    del proto.metadata_props[:]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(proto, foreign)
    with pytest.raises(ArtifactError, match="no contract, so it wasn't written by lstn"):
        write(foreign, tmp_path / "model.plan")
    junk = tmp_path / "junk.onnx"
    junk.write_text("hello")
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        write(junk, tmp_path / "model.plan")
    with pytest.raises(ArtifactError, match="No such file"):
        write(tmp_path / "none.onnx", tmp_path / "model.plan")


def test_weights_in_another_file_are_refused(exported_lstn: Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(exported_lstn.path), path, save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(ArtifactError, match="keeps weights in other files"):
        write(path, tmp_path / "model.plan")


def test_a_plan_can_be_moved_with_its_sidecar(exported_lstn: Exported, tmp_path: Path) -> None:
    write(exported_lstn.path, tmp_path / "a" / "model.plan")
    shutil.move(tmp_path / "a", tmp_path / "b")
    read_sidecar(tmp_path / "b" / "model.plan")


SIZES = st.integers(1, 999_999)


@given(st.lists(SIZES, min_size=3, max_size=3).map(sorted))
def test_batches_in_order_are_read(sizes: list[int]) -> None:
    assert parse_batches([",".join(map(str, sizes))]) == (tuple(sizes),)


@given(st.lists(SIZES, min_size=3, max_size=3).filter(lambda sizes: sizes != sorted(sizes)))
def test_batches_out_of_order_are_refused(sizes: list[int]) -> None:
    with pytest.raises(UsageError, match="1 <= MIN <= OPT <= MAX"):
        parse_batches([",".join(map(str, sizes))])


@given(st.text() | st.from_regex(r"-?[0-9_]*(,-?[0-9_]*){0,4}", fullmatch=True))
def test_other_batches_are_refused_or_read_as_sizes_in_order(text: str) -> None:
    try:
        (batch,) = parse_batches([text])
    except UsageError:
        return
    assert 1 <= batch.minimum <= batch.optimum <= batch.maximum


@pytest.mark.parametrize(
    "text", ["", "8", "1,8", "1,8,32,64", "0,8,32", "-1,8,32", "1.0,8,32", "1;8;32", "1,,32", "a,b,c"]
)
def test_examples_of_batches_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_batches([text])
    assert caught.value.hint == "for example: --batch-profile 1,8,32"


def test_profiles_are_read_in_their_order() -> None:
    assert parse_batches(["2,8,32", " 1, 1,1"]) == ((2, 8, 32), (1, 1, 1))
    with pytest.raises(UsageError, match="the same batch sizes twice"):
        parse_batches(["1,8,32", "1,1,1", "1, 8, 32"])


def test_targets_are_read() -> None:
    assert parse_targets("") == ()
    assert parse_targets("sm86, SM89,sm86") == ("sm86", "sm89")


@pytest.mark.parametrize("text", ["89", "sm", "sm89,", "sm8.9", "ada", "sm86;sm89", "sm٨٩"])
def test_targets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected compute capabilities such as sm89"):
        parse_targets(text)
