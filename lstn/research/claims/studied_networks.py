"""Networks of a finished study: what it measured of them, and their checkpoints, to be timed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.contract import CONTROLS, PAPER_LOCS, Loc
from lstn.errors import ArtifactError, UsageError
from lstn.research.claims.claims_request import ON_GPU, ClaimsRequest, ComparedEngine
from lstn.research.claims.races import TimedRace, timed_race
from lstn.research.claims.timed_network import TimedNetwork, has_openvino, random_pixels
from lstn.research.study.study_results import RESULTS, Study, folder_of, read_study

if TYPE_CHECKING:
    from lstn.nn.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class StudiedNetworks:
    """A study, and a network of each localizer in it that isn't a control: that of its first seed.

    Networks of one localizer differ in their weights alone, and take the same time.
    """

    study: Study
    models: dict[Loc, "Classifier"]


def read_networks(folder: Path) -> StudiedNetworks:
    """Read what `lstn study --out` left in a folder.

    Raises:
        ArtifactError: no study, damaged, or without the checkpoint of a localizer.
        UsageError: it has only one network to time.
    """
    from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
    from lstn.nn.classifier import Classifier

    study = read_study(folder / RESULTS)
    models: dict[Loc, Classifier] = {}
    for loc in study.locs:
        if loc in CONTROLS or not study.of(loc):
            continue
        path = folder_of(folder, loc, study.of(loc)[0].seed) / CHECKPOINT
        model = load_checkpoint(path).model
        if not isinstance(model, Classifier) or model.contract.loc is not loc:
            raise ArtifactError(f"{path}: not the network of a study's run with {loc.value}")
        models[loc] = model
    if len(models) < 2:
        raise UsageError(
            f"{folder}: a study of {len(models)} localizer, and a comparison takes two",
            hint="train others with its command and --locs none,stn,lstn",
        )
    return StudiedNetworks(study, models)


def race_study(
    networks: StudiedNetworks, setup: ClaimsRequest, folder: Path, *, tell: Callable[[str], None]
) -> Iterator[TimedRace]:
    """Export a study's networks to `folder`, and race them on every engine at every batch size.

    Raises:
        LstnError: an export or an engine fails.
    """
    from lstn.runtime.bench.race import Entrant

    timed = {
        loc: TimedNetwork(model, folder / f"{loc.value}.onnx", setup, tell) for loc, model in networks.models.items()
    }
    contract = next(iter(networks.models.values())).contract
    plain = all(model.contract.plain for loc, model in networks.models.items() if loc in PAPER_LOCS)
    for batch in setup.batches:
        pixels = random_pixels(batch, contract.image_hw, setup.seed)
        entrants = [
            Entrant(loc.value, engine.shown, network.opening(engine, pixels))
            for engine in _engines(setup, tell)
            for loc, network in timed.items()
        ]
        yield timed_race(setup, contract.backbone, contract.image_hw, batch, entrants, tell, plain=plain)


def _engines(setup: ClaimsRequest, tell: Callable[[str], None]) -> list[ComparedEngine]:
    """Return what the networks run on: the engine, and with peers what runs on a CPU besides."""
    engines = [setup.engine]
    if setup.peers and setup.engine not in ON_GPU:
        others = [ComparedEngine.ONNX, *([ComparedEngine.OPENVINO] if has_openvino(tell) else [])]
        engines += [engine for engine in others if engine is not setup.engine]
    return engines
