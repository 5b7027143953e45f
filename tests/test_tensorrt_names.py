"""Every name of TensorRT that runtime and export use, in the genuine Python packages of the versions that they are for.

Fetched with pip into pytest's cache, once; a machine that can't fetch them fails these tests. In place of TensorRT's
own libraries stand functions that return nothing: names and classes are those of the bindings.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorrt_rtx
from fetched_wheels import fetched, unpack, write_libraries
from tensorrt_names import missing, used

ROOT = Path(__file__).parents[1]

VERSIONS = {
    "10.1.0": "tensorrt-cu12-bindings",  # the oldest
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6
    "10.9.0.34": "tensorrt-cu12-bindings",  # the first with our plugin
    "10.16.1.11": "tensorrt-cu12-bindings",  # the last 10
    "11.4.0.106": "tensorrt-cu13-bindings",
}

OF_RTX = {
    "ComputeCapability",
    "ComputeCapability.__members__",
    "CudaGraphStrategy",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "EngineInvalidityDiagnostics",
    "EngineInvalidityDiagnostics.__members__",
    "BuilderFlag.REQUIRE_USER_ALLOCATION",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ICudaEngine.create_runtime_config",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_execution_context_allocation_strategy",
    "IRuntimeConfig.set_runtime_cache",
    "Runtime.get_engine_validity",
}
"""Asked for where TensorRT for RTX is at work."""

ASKED_FIRST = {"BuilderFlag.TF32", "OnnxParserFlag.ADJUST_FOR_DLA"}
"""Looked for before they are used."""


def test_the_names_are_found_in_the_source() -> None:
    assert len(used()) > 100
    assert ("DeviceType", "DLA") in used()
    assert {("", "Runtime"), ("IExecutionContext", "execute_async_v3"), ("ITimingCache", "serialize")} <= used()


def test_tensorrt_for_rtx_has_all_of_them() -> None:
    assert missing(tensorrt_rtx) == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_tensorrt_has_them(version: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kept = Path(request.config.cache.mkdir("tensorrt-bindings"))
    unpack(fetched(kept, VERSIONS[version], version), tmp_path)
    write_libraries(tmp_path, version.partition(".")[0])
    paths = {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / "tests/support/tensorrt_names.py"), "tensorrt", str(tmp_path / "names.json")]
    subprocess.run(command, env=os.environ | paths, check=True)
    lacking = set(json.loads((tmp_path / "names.json").read_text()))
    assert lacking - OF_RTX - ASKED_FIRST == set()
