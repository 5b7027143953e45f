"""A training run's folder, and which run a command means."""

from pathlib import Path

from lstn.errors import LstnError, UsageError
from lstn.files import leftovers, what_is
from lstn.health.run_health import METRICS
from lstn.terminal import note

RUNS = Path("runs")

CHECKPOINT = "checkpoint.safetensors"
"""Name of the best epoch's checkpoint inside a run's folder."""

LAST = "last.safetensors"
"""Name of the state inside a run's folder, from which training goes on."""

TEST = "test.json"
"""Name of what a run's test measured, inside its folder."""

_ENGINES = (".onnx", ".plan", ".xml")

_TRAIN = "make one with: lstn train --loc lstn --model effnet-b0"


def run_folder(named: Path) -> Path:
    """Return the run's folder that is named, by itself or by one of the files in it."""
    return named.parent if named.name in (CHECKPOINT, LAST, METRICS) and not named.is_dir() else named


def run_to_resume(named: Path) -> Path:
    """Return the folder of the run that is to go on.

    Raises:
        UsageError: no run is there.
    """
    folder = run_folder(named)
    if (folder / LAST).is_file():
        return folder
    near = RUNS / folder
    cure = f"did you mean {near}?" if (near / LAST).is_file() else "start one with: lstn train"
    raise UsageError(f"{folder}: no {LAST} here, so this is not a run", hint=cure)


def check_free(folder: Path) -> None:
    """Check that a new run can take `folder`: nothing is there, or no more than what a killed process left.

    Raises:
        UsageError: there is something in it, or it is a file.
    """
    if set(folder.iterdir()) == set(leftovers(folder)) if folder.is_dir() else not folder.exists():
        return
    cure = f"choose another --name, or continue with: lstn train --resume {folder}"
    resumable = (folder / LAST).is_file()
    raise UsageError(f"{folder} exists", hint=cure if resumable else "remove it, or choose another folder")


def checkpoint_of(run: Path | None) -> Path:
    """Return the checkpoint that RUN names: a run's folder, a file, or the newest run under ./runs.

    Raises:
        UsageError: no such file, or it is not a run.
        LstnError: none is named and there is no run, or the run has not finished an epoch.
    """
    if run is None:
        return _newest()
    path = run_folder(run) / CHECKPOINT if run.is_dir() or run_folder(run) != run else run
    if path.is_file():
        return path
    if (path.parent / LAST).is_file():
        raise unfinished(path.parent)
    if run.exists():
        engines = sorted(each for each in run.glob("*") if each.suffix in _ENGINES) if run.is_dir() else []
        cure = f"name the engine in it: {engines[0]}" if engines else f"name a run's folder; {_TRAIN}"
        raise UsageError(f"{run}: no {CHECKPOINT} here, so this is not a run", hint=cure)
    near = RUNS / run
    hint = f"did you mean {near}?" if near.exists() else f"name a run's folder or a checkpoint; {_TRAIN}"
    raise UsageError(f"{run}: {what_is(run)}", hint=hint)


def _newest() -> Path:
    found = _by_age(CHECKPOINT)
    begun = [state.parent for state in _by_age(LAST) if not (state.parent / CHECKPOINT).exists()]
    if not found:
        if begun:
            raise unfinished(begun[-1])
        raise LstnError("there is no run under ./runs", hint=_TRAIN)
    newest = found[-1]
    if begun and (begun[-1] / LAST).stat().st_mtime > newest.stat().st_mtime:
        note(f"newest run with a finished epoch: {newest.parent}; {begun[-1]} has none yet")
    else:
        note(f"newest run: {newest.parent}")
    return newest


def _by_age(name: str) -> list[Path]:
    return sorted(RUNS.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)


def unfinished(folder: Path) -> LstnError:
    """Return what is said of a run that was stopped in its first epoch."""
    return LstnError(
        f"{folder} has not finished its first epoch, so it holds no trained model yet",
        hint=f"continue with: lstn train --resume {folder}",
    )
