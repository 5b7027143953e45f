"""What `import lstn` offers to programs: names, cost, and nothing that wasn't asked for."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import lstn
import lstn.data
import lstn.nn

PACKAGES = [pytest.param(package, id=package.__name__) for package in (lstn, lstn.data, lstn.nn)]


def test_these_names_are_public() -> None:
    assert set(lstn.__all__) == {
        "ArtifactError", "At", "Classification", "Contract", "DataError", "Detection", "DeviceError", "Engine",
        "Generated", "GeneratorEngine", "Guess", "ImageError", "Loc", "LstnError", "MissingExtra", "Prediction", "Task",
        "ThetaForm", "TrainingError", "Transcript", "UsageError", "VerificationError", "__version__", "classify",
        "export_onnx", "fit", "nn", "open_engine", "open_generator", "testing",
    }  # fmt: skip
    assert set(lstn.data.__all__) == {"DataSet", "Split", "open_data", "open_objects", "open_tags", "open_texts"}
    assert set(lstn.nn.__all__) == {
        "Aligner", "BACKBONES", "FORMS", "Checkpoint", "Classifier",
        "Detector", "Generator", "LOCALIZERS", "Localizer", "Reader", "SpatialTransformer", "Training",
        "affine_grid", "build_localizer", "compose", "load_checkpoint", "sample", "save_checkpoint",
    }  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_says_what_it_is(package: type(lstn)) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        assert name in dir(package)
        assert isinstance(value, (str, dict)) or value.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'Classifer'"):
        package.Classifer  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_checker_sees_the_names_that_a_program_gets(package: type(lstn)) -> None:
    tree = ast.parse(Path(package.__file__).read_text())
    (guard,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    homes = {alias.name: node.module for node in guard.body for alias in node.names}
    assert sorted(homes) == sorted(package.__all__)
    for name, home in homes.items():
        if home != package.__name__:
            __import__(home)
            assert getattr(package, name) is getattr(sys.modules[home], name)


@pytest.mark.parametrize(
    ("imports", "modules"),
    [
        ("import lstn", 60),
        ("import lstn.nn", 60),
        ("from lstn import Contract, UsageError", 110),
    ],  # msgspec: 20 of them; the contract: 10
)
def test_importing_is_cheap(imports: str, modules: int) -> None:
    heavy = ("numpy", "PIL", "rich", "typer", "torch", "onnx", "onnxruntime", "importlib.metadata")
    code = f"import sys; before = set(sys.modules); {imports}; print(len(set(sys.modules) - before), *sys.modules)"
    packages = os.environ | {"PYTHONPATH": str(Path(msgspec.__file__).parents[1])}  # without what a site loads
    count, *loaded = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=packages
    ).stdout.split()
    assert not set(heavy) & set(loaded)
    assert int(count) < modules


def test_an_engine_needs_no_torch() -> None:
    code = "import lstn, sys; lstn.open_engine, lstn.testing.FakeEngine; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
