"""Layering: the storeys of CONTRIBUTING.md, read from the source."""

from collections.abc import Callable

import pytest
from module_graph import (
    STAGES,
    circles,
    edges,
    imports_of,
    inner_room_of,
    module_named,
    modules,
    outer_room_of,
    required_by,
    room_edges,
    storey_of,
)
from structure import BELOW, flat_modules, names_twice, upward_arrows

HEAVY = {
    "av", "captum", "cuda", "fsspec", "google", "grpc", "httptools", "huggingface_hub", "matplotlib", "mlflow",
    "mlperf_loadgen", "onnx", "onnxconverter_common", "onnxruntime", "onnxscript", "openvino", "optuna", "pillow_heif",
    "prometheus_client", "pyarrow", "pycocotools", "pycuda", "ray", "safetensors", "scipy", "sklearn", "tensorboard",
    "tensorrt", "tensorrt_rtx", "timm", "torch", "torchvision", "uvicorn", "wandb",
}  # fmt: skip

MAY_IMPORT: dict[str, set[str]] = {
    "ground": set(),
    "nn": {"captum", "safetensors", "timm", "torch", "torchvision"},
    "train": {"matplotlib", "safetensors", "torch", "torchvision"},
    "export": {"cuda", "onnx", "onnxruntime", "onnxscript", "tensorrt", "tensorrt_rtx", "torch"},
    "calibration": {"google", "onnx", "onnxconverter_common", "onnxruntime"},
    "runtime": {
        "cuda", "google", "grpc", "httptools", "onnxruntime", "pyarrow", "ray", "tensorrt", "tensorrt_rtx", "uvicorn",
    },
    "research": {"torch"},
    "front door": set(),
    "cli": {"torch"},
}  # fmt: skip
"""Which heavy packages a storey may import; anything else is free."""

MAY_REQUIRE: dict[str, set[str]] = {
    "ground": {"huggingface_hub", "onnxruntime", "pillow_heif", "pycocotools"},
    "nn": {"captum", "timm"},
    "train": {"mlflow", "pycocotools", "tensorboard", "wandb"},
    "export": {"cuda", "onnx", "openvino", "tensorrt"},
    "calibration": {"pycocotools"},
    "runtime": {
        "av", "cuda", "fsspec", "google", "grpc", "mlperf_loadgen", "onnxruntime", "openvino", "prometheus_client",
        "pyarrow", "pycuda", "ray", "uvicorn",
    },
    "research": {"openvino", "optuna", "scipy"},
    "front door": set(),
    "cli": {"pycocotools"},
}  # fmt: skip
"""Which packages of extras a storey may ask for, inside functions, with a line that says what to install."""

ASKS = {
    ("lstn.machine.environment", "onnxruntime"),
    ("lstn.machine.capabilities", "onnxruntime"),
    ("lstn.detection.average_precision", "pycocotools"),
    ("lstn.sharing.hub", "huggingface_hub"),
}
"""Modules on the ground that use a heavy package, inside their functions alone."""

ONLY_INSIDE_FUNCTIONS = {"cuda", "pycocotools", "pycuda", "ray", "tensorrt", "tensorrt_rtx", "timm"}

MODULES = [pytest.param(name, id=name) for name in sorted(modules())]
COMMANDS = [pytest.param(name, id=name) for name in sorted(modules()) if storey_of(name) == "cli"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    assert upward_arrows(module) == set()


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_stay_in_their_storey(module: str) -> None:
    found = {i.name.split(".")[0] for i in imports_of(module) if not i.for_types} & HEAVY
    asked = {package for asker, package in ASKS if asker == module}
    assert found <= MAY_IMPORT[storey_of(module)] | asked


@pytest.mark.parametrize("module", MODULES)
def test_packages_of_extras_are_asked_for_in_their_storey(module: str) -> None:
    """What `lstn.imports.require` imports is an import as well."""
    assert required_by(module) <= MAY_REQUIRE[storey_of(module)]


@pytest.mark.parametrize("module", MODULES)
def test_what_may_be_missing_or_slow_is_imported_inside_functions(module: str) -> None:
    asked = {package for asker, package in ASKS if asker == module}
    at_top = {i.name.split(".")[0] for i in imports_of(module) if i.at_top}
    assert not at_top & (ONLY_INSIDE_FUNCTIONS | asked)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_imports_its_stage_inside_its_function(module: str) -> None:
    """So that `lstn --help` answers at once, and a command needs only its own extra."""
    at_top = {target for i in imports_of(module) if i.at_top and (target := module_named(i.name)) is not None}
    assert not {storey_of(target) for target in at_top} & {"nn", *STAGES}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(edges()) == []


@pytest.mark.parametrize("room_of", [outer_room_of, inner_room_of])
def test_no_rooms_import_each_other_in_a_circle(room_of: Callable[[str], str]) -> None:
    assert circles(room_edges(room_of)) == []


def test_what_is_a_room() -> None:
    assert outer_room_of("lstn.data.folders.boxes") == outer_room_of("lstn.data.splits") == "lstn.data"
    assert inner_room_of("lstn.data.folders.boxes") == inner_room_of("lstn.data.folders") == "lstn.data.folders"
    assert inner_room_of("lstn.data.splits") == "lstn.data.splits"
    assert inner_room_of("lstn.warps.warp") == outer_room_of("lstn.warps.warp") == "lstn.warps"
    assert len(room_edges(inner_room_of)) > len(room_edges(outer_room_of)) > 30


def test_a_name_stands_for_one_thing() -> None:
    """So that grep finds one definition of each."""
    assert names_twice() == {}


def test_few_modules_stand_directly_on_the_ground() -> None:
    assert len(flat_modules()) <= 14


def test_there_is_something_to_check() -> None:
    assert {storey_of(name) for name in modules()} == set(BELOW)
    assert sum(map(len, edges().values())) > 500


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
