import re
from pathlib import Path

import pytest
import tensorrt_rtx
from small_models import Exported

from lstn.errors import LstnError
from lstn.export.tensorrt.build_log import BuildLog, logger_of, told
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning
from lstn.formats.plan_file import Flavour


def build_rtx(path: Path, log_file: Path | None, target: str = "sm89") -> None:
    settings = BuildSettings(
        flavour=Flavour.TRT_RTX,
        profiles=(BatchRange(1, 2, 4),),
        targets=(target,),
        tuning=Tuning(level=2),
        log_file=log_file,
    )
    build(path, settings)


LINE = re.compile(r" *\d+\.\d{3} s  (VERBOSE|INFO|WARNING|ERROR|INTERNAL_ERROR) +\S.*")


def test_all_that_tensorrt_says_is_in_the_file(
    exported_lstn: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log_file = tmp_path / "new" / "build.log"
    build_rtx(exported_lstn.path, log_file)
    title, *lines = log_file.read_text().splitlines()
    assert title.startswith(f"TensorRT for RTX {tensorrt_rtx.__version__}: {exported_lstn.path} for sm89, ")
    assert "level=2" in title
    assert len(lines) > 500
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    severities = [line.split()[2] for line in lines]
    assert {"VERBOSE", "INFO"} <= set(severities)
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    assert capfd.readouterr() == ("", "")


def test_a_build_that_fails_is_in_the_file_too_and_the_next_starts_anew(
    exported_lstn: Exported, tmp_path: Path
) -> None:
    log_file = tmp_path / "build.log"
    with pytest.raises(LstnError, match="not supported"):
        build_rtx(exported_lstn.path, log_file, "sm75")
    failed = log_file.read_text()
    assert "  ERROR  " in failed
    assert "not supported" in failed
    build_rtx(exported_lstn.path, None)
    assert log_file.read_text() == failed
    build_rtx(exported_lstn.path, log_file)
    assert "not supported" not in log_file.read_text()


def test_a_log_that_cannot_be_written_is_one_error(exported_lstn: Exported, tmp_path: Path) -> None:
    with pytest.raises(LstnError, match=r"cannot write .*: Is a directory"):
        build_rtx(exported_lstn.path, tmp_path)


def test_a_full_disk_stops_no_build(
    exported_lstn: Exported, tmp_path: Path, full_disk: object, capfd: pytest.CaptureFixture[str]
) -> None:
    log_file = tmp_path / "build.log"
    with full_disk(5000):  # type: ignore[operator]
        build_rtx(exported_lstn.path, log_file)
    assert log_file.stat().st_size == 5000
    told = f"warning: {log_file}: File too large; it holds a part of what TensorRT said\n"
    assert capfd.readouterr() == ("", told)


def test_one_logger_for_a_module() -> None:
    assert logger_of(tensorrt_rtx) is logger_of(tensorrt_rtx)
    assert isinstance(logger_of(tensorrt_rtx), tensorrt_rtx.ILogger)


def test_what_is_told_of_errors() -> None:
    log = BuildLog()
    assert log.text() == "it gave no reason"
    log.add("ERROR", "one\n  thing", is_error=True)
    log.add("WARNING", "a remark", is_error=False)
    log.add("ERROR", "no GPU (cudaError 35: CUDA driver version is insufficient)", is_error=True)
    log.add("ERROR", "one thing", is_error=True)
    assert log.text() == "one thing"
    assert told(["only (cudaError 35)"]) == "only (cudaError 35)"
    with log.writing(None, ""):
        assert log.text() == "it gave no reason"
