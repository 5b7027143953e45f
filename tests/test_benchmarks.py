"""The runner of benchmarks: what it lists, what it runs, what it refuses."""

import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.__main__ import Benchmark, benchmarks, listing, run
from lstn.errors import LstnError

ROOT = Path(__file__).parents[1]
KNOWN = benchmarks()
COMMAND = re.compile(r"python3? (?:-m )?benchmarks(?: (\w+)|/\S*)")
"""A command that runs a benchmark, and its name; a file of that folder that is run has none."""


def runner(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_module_is_listed_with_a_summary_and_its_result() -> None:
    assert set(KNOWN) == {path.stem for path in (ROOT / "benchmarks").iterdir() if path.suffix == ".py"} - {
        "__init__",
        "__main__",
    }
    shown = listing(KNOWN.values(), width=10_000).splitlines()
    for name, each in KNOWN.items():
        module = import_module(f"benchmarks.{name}")
        assert each.summary == (module.__doc__ or "").splitlines()[0]
        assert each.summary.endswith((".", "?"))
        assert each.result == getattr(module, "RESULT", "")
        start = shown.index(f"{name:15}{each.summary}")
        assert f"Result: {each.result or 'only on the screen'}" in [line.strip() for line in shown[start : start + 3]]


def test_what_a_benchmark_needs_is_listed() -> None:
    assert KNOWN["sampler"].needs == "an NVIDIA GPU."
    needy = Benchmark("one", "What it is.", "a GPU.", "")
    assert listing([needy], 80).splitlines()[3:] == [
        "one            What it is.",
        "               Needs: a GPU.",
        "               Result: only on the screen",
    ]


@pytest.mark.parametrize("width", [0, 46, 80])
def test_the_list_fits_the_screen(width: int) -> None:
    assert max(map(len, listing(KNOWN.values(), width).splitlines())) <= max(46, width)


@pytest.mark.parametrize("name", KNOWN)
def test_help_says_how_the_benchmark_is_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run([name, "--help"])
    assert raised.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: python -m benchmarks {name} ")
    assert KNOWN[name].summary in told
    options = set(re.findall(r"^  (--[a-z-]+)", told, re.MULTILINE))
    typed = [line for line in told.splitlines() if line.startswith(f"    python -m benchmarks {name}")]
    assert typed, "its docstring shows the command"
    assert set(re.findall(r"(?<=[ \[])--[a-z-]+", " ".join(typed))) <= options


def test_every_benchmark_that_is_named_somewhere_is_there() -> None:
    folders = [ROOT / name for name in ("benchmarks", "deploy", "docs", "examples", "lstn", "results", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".json")]
    files = [path for path in files if not {"build", "tree"} & {*path.parts} and path != Path(__file__)]
    files += [ROOT / name for name in ("CONTRIBUTING.md", "Dockerfile", "Makefile", "NOTICE", "README.md")]
    named = [name for path in files for name in COMMAND.findall(path.read_text())]
    assert len(named) > 60
    assert {name for name in named if name not in KNOWN} == {"NAME"}


def test_the_list_loads_no_benchmark_and_nothing_heavy() -> None:
    script = "import sys; from benchmarks.__main__ import run; run([]); print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(loaded.stdout.splitlines())
    assert "benchmarks.__main__" in names
    assert not {name for name in names if name.partition(".")[0] in {"torch", "numpy", "onnx", "onnxruntime", "PIL"}}
    assert not {f"benchmarks.{name}" for name in KNOWN} & names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["veiws"], "error: there is no benchmark 'veiws'; did you mean views?"),
        (["views.py"], "error: there is no benchmark 'views.py'; did you mean views?"),
        (["support"], "error: there is no benchmark 'support'; for their names: python -m benchmarks"),
        (["__main__"], "error: there is no benchmark '__main__'; for their names: python -m benchmarks"),
        (["../views"], "error: there is no benchmark '../views'; did you mean views?"),
    ],
)
def test_an_unknown_name_is_one_line(words: list[str], line: str) -> None:
    ran = runner(*words)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", line + "\n")


def test_what_lstn_refuses_is_one_line(tmp_path: Path) -> None:
    ran = runner("make_digits", str(tmp_path / "nothing"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1


def test_a_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    ran = runner("loading", "--folder", str(folder))
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"error: {folder}: No such file or directory\n")


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    with subprocess.Popen([sys.executable, "-m", "benchmarks"], cwd=ROOT, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_no_process_outlives_a_benchmark_that_is_terminated() -> None:
    code = """
import sys, time
from benchmarks import __main__, threads
def busy(words):
    with threads.spinning():
        print("spinning", flush=True)
        time.sleep(60)
threads.main = busy
sys.argv = ["benchmarks", "threads"]
__main__.main()
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spinning\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
    assert not Path("/proc", child).exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.grid", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LstnError, match="grid needs the package torch, which is not installed"):
        run(["grid"])
