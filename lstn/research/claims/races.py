"""Races: from the name of a backbone to timings. Models are made, exported and raced by way of files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.errors import UsageError
from lstn.formats.plan_file import Flavour
from lstn.imports import require
from lstn.machine.gpu import Device
from lstn.research.claims.claims_request import LABELS, ON_GPU, ClaimsRequest, ComparedEngine
from lstn.research.claims.contenders import Contenders
from lstn.research.claims.timed_network import engine_run, random_pixels

if TYPE_CHECKING:
    from lstn.runtime.bench.race import Entrant, Race


@dataclass(frozen=True, slots=True, eq=False)
class TimedRace:
    """One race at one batch size.

    backbone: of the whole networks that ran, or empty for transformers and their parts alone
    engine:   what ran what is to be compared; others are its peers
    plain:    whether its transformers are the paper's, as the paper's claims mean them, where it has one of that name
    """

    backbone: str
    image_hw: tuple[int, int]
    batch: int
    engine: str
    race: "Race"
    plain: bool = True


def check(setup: ClaimsRequest) -> None:
    """Look for what can't be done before anything is exported.

    Raises:
        UsageError: no such backbone, or images too small for it or for a localizer.
        MissingExtra, DeviceError: the engine isn't installed, or there is no GPU for it.
    """
    from lstn.nn.backbones import backbone_named
    from lstn.nn.costs.counting import count_costs

    for name in setup.models:
        side = setup.image_size or backbone_named(name).image_size
        for loc in PAPER_LOCS:
            count_costs(loc, name, (side, side), len(LABELS))
    check_compared_engine(setup)


def check_compared_engine(setup: ClaimsRequest) -> None:
    """Look for what the engine needs.

    Raises:
        MissingExtra, DeviceError: it isn't installed, or there is no GPU for it.
    """
    if setup.engine is ComparedEngine.OPENVINO:
        require("openvino", extra="openvino")
    elif setup.engine in ON_GPU:
        from lstn.export.tensorrt.targets import choose_targets

        choose_targets(Flavour(setup.engine.value), ())


def race_all(setup: ClaimsRequest, folder: Path, *, tell: Callable[[str], None]) -> Iterator[TimedRace]:
    """Export to `folder` and race every backbone at every batch size; transformers alone once for each image size.

    `tell` hears what is going on.

    Raises:
        UsageError: no such backbone, or images too small for it or for a localizer.
        LstnError: an export or an engine fails.
    """
    seen: set[tuple[int, int]] = set()
    for backbone in setup.models:
        contenders = Contenders(setup, backbone, folder, tell)
        for batch in setup.batches:
            yield timed_race(setup, backbone, contenders.image_hw, batch, contenders.networks(batch), tell)
        if contenders.image_hw not in seen and setup.engine not in ON_GPU:
            seen.add(contenders.image_hw)
            for batch in setup.batches:
                yield timed_race(setup, "", contenders.image_hw, batch, contenders.parts(batch), tell)


def race_files(files: Sequence[Path], setup: ClaimsRequest, *, tell: Callable[[str], None]) -> Iterator[TimedRace]:
    """Race engine files that are there already, one for each localizer around one backbone, in any precision.

    `glance` and `shared` may have any view and crop.

    Raises:
        UsageError: a localizer of the paper in another transformer than its own, two files of one localizer, or of
            different backbones or image sizes.
        ArtifactError: a file without a contract.
    """
    from lstn.runtime.bench.race import Entrant, run_race
    from lstn.runtime.engines.opening import open_engine

    opened: dict[Loc, tuple[Path, Contract]] = {}
    for path in files:
        with open_engine(path, device=Device.CPU if path.suffix == ".onnx" else Device.AUTO, threads=1) as engine:
            contract = engine.contract
        if contract.loc in PAPER_LOCS and not contract.plain:
            raise UsageError(
                f"{path}: its {contract.loc.value} isn't the paper's, which looks at the whole image once",
                hint="time it with: lstn bench",
            )
        if contract.loc in opened:
            raise UsageError(f"{path} and {opened[contract.loc][0]} both have localizer {contract.loc.value}")
        opened[contract.loc] = (path, contract)
    first_path, first = next(iter(opened.values()))
    for path, contract in opened.values():
        if (contract.backbone, contract.image_hw) != (first.backbone, first.image_hw):
            raise UsageError(
                f"{path} is {_described(contract)}, {first_path} is {_described(first)}",
                hint="give files that differ in their localizer alone",
            )
    via = " and ".join(sorted({"ONNX Runtime" if path.suffix == ".onnx" else "TensorRT" for path in files}))
    for batch in setup.batches:
        pixels = random_pixels(batch, first.image_hw, setup.seed)
        entrants = [
            Entrant(loc.value, via, engine_run(path, pixels, setup.threads)) for loc, (path, _) in opened.items()
        ]
        tell(f"timing {len(entrants)} files at batch {batch}, about {setup.seconds * len(entrants):.0f} s")
        race = run_race(entrants, seconds=setup.seconds, seed=setup.seed)
        yield TimedRace(first.backbone, first.image_hw, batch, via, race)


def timed_race(
    setup: ClaimsRequest,
    backbone: str,
    image_hw: tuple[int, int],
    batch: int,
    entrants: Sequence["Entrant"],
    tell: Callable[[str], None],
    *,
    plain: bool = True,
) -> TimedRace:
    """Run a race of entrants that are made already."""
    from lstn.runtime.bench.race import run_race

    seconds = setup.seconds * len(entrants)
    tell(f"{backbone or 'transformers'}: timing {len(entrants)} in turn at batch {batch}, about {seconds:.0f} s")
    race = run_race(entrants, seconds=setup.seconds, seed=setup.seed)
    return TimedRace(backbone, image_hw, batch, setup.engine.shown, race, plain)


def _described(contract: Contract) -> str:
    return "{} at {} x {}".format(contract.backbone, *contract.image_hw)
