"""One tuning from end to end: make the files, refuse what costs too much, search, and time the best in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lstn.contract import Task, check_task
from lstn.data.task_sets import open_for_model
from lstn.files import sha256_of
from lstn.formats.onnx_file import read_model
from lstn.formats.outputs import PAGE, TUNING, OutputFile
from lstn.imports import require
from lstn.machine.environment import Environment, describe_environment
from lstn.report.wording import counted
from lstn.research.tune.candidates import Candidate, QualityLimits, judged_files
from lstn.research.tune.model_versions import VersionsWanted, make_versions
from lstn.research.tune.setting_search import CallTime, SearchPlan, SettingSpace, TunedSetting, search
from lstn.research.tune.setting_times import Finalist, time_alone, time_in_turn
from lstn.terminal import note
from lstn.waiting import duration, working

_FINALISTS = 4
"""Settings that are timed in turn at the end, beside the model as it comes."""

_LONGER = 5
"""How many times as long each of these is timed as in the search."""

USUAL_BATCH = 32
"""Images a call of `lstn infer`, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningRequest:
    """What to tune.

    p99_ms:  how long a call may take at most, in 99 of 100 cases; None: any time
    trials:  None: a fifth of all settings, and 10 at least
    seconds: about how long a setting is timed
    """

    versions: VersionsWanted
    limits: QualityLimits
    batches: Sequence[int]
    threads: Sequence[int]
    p99_ms: float | None
    trials: int | None
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a tuning came to.

    candidates: every file, those that cost too much among them
    settings:   how many settings there were to choose from
    trials:     those that were timed, each alone
    finalists:  the model as it comes, and the best trials, timed in turn
    best:       the finalist with the most images/s within the limits; None: there is none
    """

    candidates: Sequence[Candidate]
    settings: int
    trials: Sequence[tuple[TunedSetting, CallTime]]
    finalists: Sequence[Finalist]
    best: Finalist | None
    environment: Environment
    request: TuningRequest

    @property
    def front(self) -> list[tuple[TunedSetting, CallTime]]:
        """The trials that no other beats in images/s, time of a call and accuracy at once, the fastest first."""
        kept = [one for one in self.trials if not any(_beats(other, one) for other in self.trials)]
        return sorted(kept, key=lambda each: -each[1].images_per_s)


def tuned_outputs(folder: Path) -> list[OutputFile]:
    """Return what a tuning writes beside the files of the model: its figures, and its page."""
    return [OutputFile(folder / "tune.json", TUNING), OutputFile(folder / "tune.html", PAGE)]


def tune(source: Path, folder: Path, request: TuningRequest) -> Tuned:
    """Make every file of a checkpoint or an ONNX file in `folder`, and find the fastest setting within the limits.

    Trials are kept in `folder`: the same search goes on where it was stopped.

    Raises:
        UsageError: a model that doesn't classify.
        DataError: the data set can't be read.
        MissingExtra: what searches, or makes or runs a file, is not installed.
        LstnError: a file can't be made or run.
    """
    require("optuna", extra="tune")
    require("scipy", extra="tune")
    folder.mkdir(parents=True, exist_ok=True)
    versions = make_versions(source, request.versions, folder)
    contract = read_model(versions[0].path)[0]
    data = open_for_model(contract, request.versions.data, seed=request.versions.seed)
    candidates = judged_files(versions, data.val, request.limits)
    allowed = [each for each in candidates if not each.beyond]
    space = SettingSpace(allowed, request.batches, request.threads)
    environment = describe_environment()
    depends_on = f"{sha256_of(source)} {environment.cpu} {request.seconds}"
    trials = _searched(space, request, folder / "trials.log", depends_on)
    finalists = _finals(candidates[0], trials, request)
    within = [each for each in finalists if not each.setting.candidate.beyond and _in_time(each.timed, request)]
    best = max(within, key=lambda each: each.timed.images_per_s, default=None)
    return Tuned(candidates, len(space), trials, finalists, best, environment, request)


def check_tunable(source: Path) -> None:
    """Check, before any work, that an ONNX file is of a model that classifies; a checkpoint is checked when it is read.

    Raises:
        UsageError: it isn't.
        ArtifactError: not a file of lstn.
    """
    if source.suffix == ".onnx":
        check_task(read_model(source)[0].task, Task.CLASSIFY, "lstn tune")


def _searched(
    space: SettingSpace, request: TuningRequest, journal: Path, depends_on: str
) -> list[tuple[TunedSetting, CallTime]]:
    trials = min(len(space), request.trials or max(10, -(-len(space) // 5)))
    note(
        f"{counted(trials, 'trial')} of {counted(len(space), 'setting')}, {duration(trials * request.seconds)} or more"
    )
    plan = SearchPlan(trials, request.p99_ms, request.seed, journal, depends_on)

    def timed(setting: TunedSetting) -> CallTime:
        return time_alone(setting, seconds=request.seconds, seed=request.seed)

    with working("timing settings", trials) as advance:
        return search(space, timed, plan, tell=advance)


def _finals(
    first: Candidate, trials: Sequence[tuple[TunedSetting, CallTime]], request: TuningRequest
) -> list[Finalist]:
    """Time the best in turn with the model as it comes, which `lstn infer` would run."""
    usual = TunedSetting(first, USUAL_BATCH, max(request.threads))
    good = sorted((each for each in trials if _in_time(each[1], request)), key=lambda each: -each[1].images_per_s)
    settings = [usual, *[setting for setting, _ in good if setting != usual][:_FINALISTS]]
    with working(f"timing the best {counted(len(settings) - 1, 'setting')} in turn"):
        return time_in_turn(settings, seconds=_LONGER * request.seconds, seed=request.seed)


def _in_time(timed: CallTime, request: TuningRequest) -> bool:
    return request.p99_ms is None or timed.p99_ms <= request.p99_ms


def _beats(one: tuple[TunedSetting, CallTime], other: tuple[TunedSetting, CallTime]) -> bool:
    """Whether a trial is nowhere worse than another, and somewhere better."""
    own, its = ((t.images_per_s, -t.p99_ms, s.candidate.top1) for s, t in (one, other))
    return all(a >= b for a, b in zip(own, its, strict=True)) and own != its
