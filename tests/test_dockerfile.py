"""Dockerfile, without building it: it names extras, folders and commands that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from lstn.cli.app import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
EXTRAS = PROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
COPIES = [match[1].split() for match in re.finditer(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)]
TARGETS = {match[1] for match in re.finditer(r"^FROM \S+ AS (\S+)$", TEXT, re.MULTILINE)}
FOR_USERS = TARGETS - {"wheel", "base"}


def test_each_target_is_shown_and_each_that_is_shown_is_there() -> None:
    assert {"cpu", "gpu", "rtx", "jetson"} == FOR_USERS
    assert set(re.findall(r"^#   docker build .*--target (\S+)", TEXT, re.MULTILINE)) == FOR_USERS - {"cpu"}
    assert [match[1] for match in re.finditer(r" AS (\S+)$", TEXT, re.MULTILINE)][-1] == "cpu"


@pytest.mark.parametrize("extras", re.findall(r"\*\.whl\)\[([^\]]+)\]", TEXT))
def test_extras_are_the_projects_own(extras: str) -> None:
    assert set(extras.split(",")) <= set(re.findall(r"^([a-z0-9-]+) = ", EXTRAS, re.MULTILINE))
    assert len({"runtime", "gpu"} & set(extras.split(","))) == 1  # ONNX Runtime from one of the two


def test_what_is_copied_is_there_and_holds_each_package() -> None:
    copied = {name for *names, _ in COPIES for name in names}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    packages = PROJECT.partition("[tool.setuptools.package-dir]")[2].partition("\n[")[0]
    assert set(re.findall(r'= "([a-z]+)"$', packages, re.MULTILINE)) <= copied


def test_no_image_runs_as_root() -> None:
    stages = re.split(r"^FROM .* AS ", TEXT, flags=re.MULTILINE)[1:]
    assert {stage.split()[0] for stage in stages if "\nUSER 1000\n" in stage} == FOR_USERS
    assert set(re.findall(r"^USER (.+)$", TEXT, re.MULTILINE)) == {"1000"}  # a name says nothing to Kubernetes
    assert len(re.findall(r"useradd --uid 1000 ", TEXT)) == TEXT.count("useradd") == 2  # for base, and for a Jetson


STAGES = {stage.split()[0]: stage for stage in re.split(r"^FROM .* AS ", TEXT, flags=re.MULTILINE)[1:]}


@pytest.mark.parametrize("stage", ["base", "jetson"])
def test_there_is_a_cache_that_anybody_may_write(stage: str) -> None:
    """A container that is run with --user has no home folder."""
    assert re.search(r"^ENV .*\bXDG_CACHE_HOME=/cache\b", STAGES[stage], re.MULTILINE)
    assert "mkdir --mode 1777 /cache" in STAGES[stage]


@pytest.mark.parametrize("stage", ["gpu", "rtx", "jetson"])
def test_a_container_for_gpus_asks_for_the_drivers_libraries(stage: str) -> None:
    """compute brings CUDA's, and utility NVML."""
    (asked,) = re.findall(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", STAGES[stage])
    assert asked == "all" or {"compute", "utility"} <= set(asked.split(","))
    assert "NVIDIA_VISIBLE_DEVICES=all" in STAGES[stage]


def test_a_jetson_has_tensorrts_bindings_and_the_group_of_its_gpu() -> None:
    assert "python3-libnvinfer" in STAGES["jetson"]
    assert "--groups video" in STAGES["jetson"]
    assert re.search(r"^#   docker run .*--group-add video .*lstn:jetson", TEXT, re.MULTILINE)


@pytest.mark.parametrize("stage", sorted(FOR_USERS))
def test_each_image_lists_its_packages_once_all_are_there(stage: str) -> None:
    installs, lists = (STAGES[stage].find(words) for words in ("pip install", "sh /wheels/write_sbom.sh"))
    assert 0 < installs < lists
    of_base = STAGES["jetson" if stage == "jetson" else "base"]
    assert re.search(r"^COPY .*deploy/write_sbom.sh.* /wheels/$", of_base, re.MULTILINE)
    (written,) = re.findall(r"SBOM=(\S+)", of_base)
    assert f"--entrypoint cat lstn {written}" in TEXT


@pytest.mark.parametrize(
    "line", re.findall(r"^#   docker run (?!.*--entrypoint).*? lstn(?::\w+)? (.*)$", TEXT, re.MULTILINE)
)
def test_a_command_that_is_shown_can_be_typed(line: str) -> None:
    name, *arguments = shlex.split(line)
    typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
