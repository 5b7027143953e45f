"""Training of a model that a program made: what `lstn train` does, with the same choices, for programs."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from lstn.contract import WHOLE_IMAGE
from lstn.errors import UsageError
from lstn.formats.inspection import training_of
from lstn.health.run_health import Epoch
from lstn.machine.cores import decoders
from lstn.nn.device import choose_device
from lstn.nn.models import Model, check_model
from lstn.recipe import RECIPES, Recipe
from lstn.train.batches.augment import Augment, check_augment, kinds_of
from lstn.train.choices.task_choices import check_choices, usual_recipe
from lstn.train.loop import train_to_end as fit_run
from lstn.train.objectives.supervision import check_supervise
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_options
from lstn.train.tested import TrainingResult
from lstn.train.watch.watcher import SILENT


def fit(
    model: Model,
    data: str | Path,
    folder: str | Path,
    *,
    epochs: int = 25,
    recipe: Recipe | str = "robust",
    augment: Augment = "none",
    supervise: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainingResult:
    """Train a model on a data set, and leave it with the weights of its best epoch.

        model = lstn.nn.Classifier.around(MyNetwork(), labels=("cat", "dog"), image_hw=(64, 64))
        print(lstn.fit(model, "folder:photos", "runs/mine", epochs=10).test_accuracy)

    model:    trained in place, from the weights that it has, and its contract gets a temperature, or thresholds;
        a `lstn.nn.Detector` learns to find objects
    data:     as `lstn train --data` names it, or the Path of a folder of images; its classes are the model's labels
    folder:   made for the run; after every epoch it holds the best checkpoint, metrics.jsonl and the state
    recipe:   paper or robust, with the usual rates for the model; or choices of your own, whose theta is the model's:
        replace(lstn.recipe.RECIPES["robust"], lr=0.01)
    augment:  how training images are changed at random: none, or as `lstn train --augment` takes it
    device:   auto, cpu, cuda or cuda:N; the model is moved there, and back
    supervise: of a classifier or a reader, weight of the distance between theta and the true poses that the set knows
    resume:   go on with the run in `folder`, whose recipe, data and seed then hold, up to `epochs`
    on_epoch: hears every finished epoch: its losses (nats), accuracies (0..1), seconds, and the transformer's health

    Returns: the history, the best epoch, and the accuracy on the test images, which chose nothing.

    Raises:
        UsageError, DataError: the data set can't be used or has other classes; or there is a run in `folder` already.
        TrainingError: the loss is not a number any more.
        DeviceError: no such device.
    """
    check_model(model)
    folder = Path(folder)
    if (folder / LAST).is_file() != resume:
        found = "no run to go on with" if resume else "a run already"
        raise UsageError(f"{folder}: there is {found}", hint=f"choose another folder, or pass resume={not resume}")
    spec = f"folder:{data}" if isinstance(data, Path) else data
    asked = _options(model, spec, epochs, recipe, augment, seed, supervise)
    options = replace(read_options(folder / LAST), epochs=epochs) if resume else asked
    before = model.scale.device
    result = fit_run(
        options,
        folder,
        device=choose_device(device),
        workers=decoders(None),
        watcher=replace(SILENT, epoch=lambda epoch, best: on_epoch(epoch)),
        resume=resume,
        given=model,
    )
    model.load_state_dict(result.model.state_dict())
    model.contract = result.contract
    model.record = training_of(result.checkpoint)
    return replace(result, model=model.to(before).eval())


def _options(
    model: Model, data: str, epochs: int, recipe: Recipe | str, augment: Augment, seed: int, supervise: float
) -> Options:
    if epochs < 1 or not 0 <= seed < 1 << 63:
        raise UsageError(f"can't train with epochs {epochs}, seed {seed}; expected epochs from 1, and a seed from 0")
    check_augment(augment, model.contract.task, supervised=supervise > 0)
    contract = model.contract
    if not isinstance(recipe, Recipe):
        name = next((each for each in RECIPES if each == recipe), None)
        if name is None:
            raise UsageError(f"there is no recipe {recipe!r:.80}", hint=f"choose one of: {', '.join(RECIPES)}")
        recipe = usual_recipe(name, contract, supervise)
    check_choices(contract.task, asdict(recipe) | {"supervise": supervise})
    check_supervise(contract.loc, supervise, contract.warps if contract.task in WHOLE_IMAGE else 1)
    return Options(
        recipe=replace(recipe, theta=contract.theta),
        loc=contract.loc,
        model=contract.backbone,
        data=data,
        weights="",
        image_size=contract.image_hw,
        epochs=epochs,
        precision="fp32",
        seed=seed,
        augment=",".join(kinds_of(augment)) or "none",
        iterations=contract.iterations,
        at=contract.at,
        view=contract.view_hw,
        crop=contract.crop_hw,
        warps=contract.warps,
        task=contract.task,
        supervise=supervise,
        fit=contract.fit,
    )
