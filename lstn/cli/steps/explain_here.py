"""`lstn explain` on this machine: images -> pictures of what moves the answer, a page and JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstn.cli.steps.infer_here import listed_images, paths_of
from lstn.contract import Task, check_task
from lstn.errors import ImageError, LstnError, UsageError
from lstn.explanation.methods import OF_ENGINES, Method
from lstn.files import write_text
from lstn.formats.outputs import EXPLANATION, PAGE, OutputFile, check_folder, check_outputs, check_pictures, files_of
from lstn.health.run_files import checkpoint_of
from lstn.machine.cores import decoders
from lstn.machine.gpu import engine_device
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.terminal import note
from lstn.waiting import say_loading, working
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.explanation.explaining import Explainable
    from lstn.explanation.occlusion import Window

_BATCH = 32
_PAGE, _FIGURES = "index.html", "explain.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """The options of `lstn explain`, as typed; None: not given."""

    out: Path
    methods: list[Method] | None
    window: int | None
    stride: int | None
    features: str | None
    device: str
    model: str | None = None


def explain_here(file: Path, paths: list[str], asked: ExplainRequest) -> None:
    """Explain the answers to the images that `paths` stand for.

    Raises:
        UsageError: an option that can't be followed with this file.
        LstnError: an image can't be read, or the model can't be opened.
    """
    from lstn.cli.steps.explain_features import explain_features, open_layer

    images, methods = listed_images(paths), _methods(file, asked)
    _check_places(file, paths, images, asked)
    layer = (
        None if asked.features is None else open_layer(checkpoint_of(file), asked.features, asked.device, asked.model)
    )
    told, section, figures = list[dict[str, Any]](), "", dict[str, Any]()
    try:
        if methods:
            with opened_explainable(file, asked.device, methods, asked.model) as model:
                for each in _explain_all(model, images, methods, asked):
                    told.append(each)
        if layer is not None:
            unreadable, figures, section = explain_features(layer, images, asked.out)
            told = told or unreadable
    finally:  # after Ctrl-C too: the page never speaks of other pictures than those that are there
        if told or section:
            _write(file, asked.out, len(images), told, section, figures)
    if failed := sum("error" in each for each in told):
        raise LstnError(
            f"{counted(failed, 'image')} of {len(images)} could not be read", hint=f"{asked.out / _PAGE} says why"
        )


def _check_places(file: Path, paths: list[str], images: Sequence[Path | str], asked: ExplainRequest) -> None:
    from lstn.explanation.feature_pictures import PICTURE
    from lstn.runtime.inference.warp_pictures import picture_names

    read, own = [*files_of(file), *paths_of(images)], [PICTURE] if asked.features is not None else []
    check_folder("--out", asked.out, [Path(path) for path in paths], paths_of(images))
    check_outputs([OutputFile(asked.out / _PAGE, PAGE), OutputFile(asked.out / _FIGURES, EXPLANATION)], inputs=read)
    check_pictures("--out", asked.out, [*picture_names(images), *own], read)


def _write(
    file: Path, out: Path, count: int, told: list[dict[str, Any]], section: str, figures: dict[str, Any]
) -> None:
    """Write the page and the JSON of what was explained; count: of all images."""
    from lstn.explanation.explanation_page import explanation_page

    shown = shown_path(file)
    report = {"explained": shown, "images": told} | ({"features": figures} if figures else {})
    done = any("picture" in each for each in told) and len(told) < count
    where = f"{len(told):,} of {counted(count, 'image')}: stopped" if done else counted(count, "image")
    write_text(out / _FIGURES, json.dumps(report, ensure_ascii=False) + "\n")
    write_text(out / _PAGE, explanation_page(shown, where, told, section))
    note(f"open {out / _PAGE}")


def is_checkpoint(file: Path) -> bool:
    """Return whether FILE names a run or a checkpoint, and not an engine."""
    return file.is_dir() or file.suffix == ".safetensors"


@contextmanager
def opened_explainable(
    file: Path, device: str, methods: list[Method], model: str | None = None
) -> Iterator["Explainable"]:
    """Open a checkpoint or an engine as something that can be explained by `methods`.

    model: where the backbone of a checkpoint is made, as MODULE:FACTORY, if it is the user's own
    """
    if is_checkpoint(file):
        say_loading(f"explaining {file}")
        from lstn.nn.attribution.explained_checkpoint import open_explainable
        from lstn.nn.device import choose_device

        yield open_explainable(checkpoint_of(file), choose_device(device), methods, model)
        return
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.explained_engine import explainable_engine

    with open_engine(file, device=engine_device(device), spin=False) as engine:
        check_task(engine.contract.task, Task.CLASSIFY, "lstn explain")
        yield explainable_engine(engine)


def _methods(file: Path, asked: ExplainRequest) -> list[Method]:
    """Return how maps are made.

    Raises:
        UsageError: an engine is asked for what only a checkpoint has, or a window is given and no occlusion.
    """
    own = list(Method) if is_checkpoint(file) else list(OF_ENGINES)
    chosen = list(dict.fromkeys(asked.methods or ([] if asked.features else own)))
    beyond = [f"--method {each.value}" for each in chosen if each not in own]
    beyond += ["--features"] if asked.features and not is_checkpoint(file) else []
    beyond += ["--model"] if asked.model and not is_checkpoint(file) else []
    if beyond:
        raise UsageError(
            f"{beyond[0]}: needs a checkpoint; {shown_path(file)} is an engine, which only answers",
            hint="explain the run that it was exported from, or use --method occlusion",
        )
    idle = [f"--{name}" for name, value in (("window", asked.window), ("stride", asked.stride)) if value is not None]
    if idle and Method.OCCLUSION not in chosen:
        raise UsageError(f"{idle[0]}: is of the method occlusion alone", hint="leave it out, or add --method occlusion")
    return chosen


def _explain_all(
    model: "Explainable", images: list[Path | str], methods: list[Method], asked: ExplainRequest
) -> Iterator[dict[str, Any]]:
    """Save a picture for each image, and yield what JSON says of it."""
    from lstn.explanation.explaining import explain
    from lstn.explanation.explanation_page import figures_of, unreadable
    from lstn.explanation.heat_pictures import explanation_picture
    from lstn.explanation.occlusion import window_for
    from lstn.imaging.saved_picture import save_picture
    from lstn.runtime.inference.decoding import decode_ahead
    from lstn.runtime.inference.warp_pictures import picture_name
    from lstn.warps.warp import sampling_of

    contract = model.contract
    window = window_for(contract.image_hw, asked.window, asked.stride)
    batch = batch_of(contract.image_hw, min(model.max_batch, _BATCH))
    steps = _steps(window, contract.image_hw, methods)
    decoded = decode_ahead(images, contract, workers=decoders(None), window=2 * _BATCH)
    with closing(decoded), working(f"explaining {counted(len(images), 'image')}", steps * len(images)) as advance:
        for number, (path, pixels) in enumerate(decoded, 1):
            if isinstance(pixels, ImageError):
                yield unreadable(path, pixels)
                advance(steps)
                continue
            found = explain(model, pixels, methods, window, batch=batch, advance=advance)
            name = picture_name(path, number)
            save_picture(explanation_picture(found, sampling_of(contract)), asked.out / name)
            yield {"path": str(path), "picture": name, **figures_of(found, contract, window)}


def _steps(window: "Window", image_hw: tuple[int, int], methods: list[Method]) -> int:
    """Return how many answers an image takes."""
    return 1 + window.count(image_hw) if Method.OCCLUSION in methods else 1
