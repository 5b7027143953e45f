"""The plugin, declared to the real Python packages of TensorRT: of the first version with such plugins, and a new one.

Both are fetched with pip into pytest's cache, once; a machine that can't fetch them fails these tests. In place of
TensorRT's own libraries, which not every machine's package index has, stand functions that return nothing;
front_end.py says what that leaves out.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fetched_wheels import fetched, unpack, write_libraries

from lstn.errors import MissingExtra
from lstn.export.plugin.aot import register_plugin
from lstn.export.plugin.kernel import BLOCK, count_blocks
from lstn.install import install_line

ROOT = Path(__file__).parents[3]
PACKAGES = {"10.9.0.34": "tensorrt-cu12-bindings", "11.4.0.106": "tensorrt-cu13-bindings"}


@pytest.fixture(scope="module", params=PACKAGES, ids=lambda version: f"TensorRT {version}")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this version's front end was told by `lstn.export.plugin.aot`."""
    version, folder = request.param, tmp_path_factory.mktemp("tensorrt")
    kept = Path(request.config.cache.mkdir("tensorrt-bindings"))
    unpack(fetched(kept, PACKAGES[version], version), folder)
    write_libraries(folder, version.partition(".")[0])
    paths = {"LD_LIBRARY_PATH": folder, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/front_end.py"), str(folder / "told.json")],
        env=os.environ | {name: str(value) for name, value in paths.items()},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "what stands here are results\n"
    assert "tensorrt.plugin module is experimental" in ended.stderr
    return dict(json.loads((folder / "told.json").read_text()))


def test_it_is_registered_once(told: dict[str, Any]) -> None:
    assert told["registered"] == [True, True]
    assert told["creator"] == ["AffineGridSample", "1", "lstn", "AffineGridSample"]


def test_the_output_is_as_the_images(told: dict[str, Any]) -> None:
    for plan in told["plans"]:
        dtype, _, shape = plan["asked"]
        assert plan["types"] == [dtype]
        assert plan["output"] == shape


def test_four_formats_are_offered_with_theta_in_float32(told: dict[str, Any]) -> None:
    for plan in told["plans"]:
        offered = [tuple(map(tuple, plan["offered"][i : i + 3])) for i in range(0, len(plan["offered"]), 3)]
        data = [("FLOAT", "LINEAR"), ("HALF", "LINEAR"), ("FLOAT", "HWC"), ("HALF", "HWC8")]
        assert sorted(offered) == sorted((each, ("FLOAT", "LINEAR"), each) for each in data)
        assert plan["tactics"] == []


def test_each_format_gets_its_kernel_and_a_launch_that_fits(told: dict[str, Any]) -> None:
    kernels = {
        ("FLOAT", "LINEAR"): "affine_grid_sample_nchw_f32",
        ("HALF", "LINEAR"): "affine_grid_sample_nchw_f16",
        ("FLOAT", "HWC"): "affine_grid_sample_nhwc_f32",
        ("HALF", "HWC8"): "affine_grid_sample_nhwc8_f16",
    }
    assert len(told["plans"]) == 12
    for plan in told["plans"]:
        dtype, layout, (batch, channels, height, width) = plan["asked"]
        assert plan["kernel"] == kernels[dtype, layout]
        assert plan["entry"]
        assert plan["scalars"] == [["INT32", size] for size in (batch, channels, height, width)]
        blocks = count_blocks(plan["kernel"], batch, height, width)
        one = {"grid_y": 1, "grid_z": 1, "block_y": 1, "block_z": 1, "shared_mem": 0}
        assert plan["launch"] == {"grid_x": blocks, "block_x": BLOCK, **one}


def test_tensorrt_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra) as caught:
        register_plugin()
    assert caught.value.hint == f"run: {install_line('trt')}"


@pytest.mark.parametrize("version", ["10.0.1", "10.8.0.43"])
def test_an_older_tensorrt_is_left_alone(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """It has no module `plugin` of this kind, and asking for it would be an error."""
    module = type(sys)("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert register_plugin() is False
