"""`lstn train`."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.parsing.course_options import AugmentOption, BackbonePrecision, DataRoot, DecodingWorkers
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.model_choice import name_of
from lstn.cli.parsing.recipe_options import (
    AUTO,
    Accumulate,
    Balanced,
    BatchSizeOrAuto,
    Equivariance,
    Freeze,
    Hours,
    InFrame,
    LabelSmoothing,
    LocRate,
    Optimizer,
    Patience,
    Rate,
    TeacherOption,
    ThetaOption,
    WeightDecay,
)
from lstn.cli.parsing.run_name import RunName
from lstn.cli.parsing.size_options import Crop, ImageSize, View, sizes_of
from lstn.cli.steps.train_steps import (
    TrainingJob,
    begun_run,
    joined_processes,
    placed_run,
    train_run,
    try_rates,
    typed_options,
    wanted_trackers,
    with_batch_size,
)
from lstn.contract import MAX_ITERATIONS, REGIONS, At, Fit, Loc, Task
from lstn.data.set_names import named, well_named
from lstn.recipe import DEFAULT_RECIPE, MAX_EPOCHS, RecipeName, usual_model

MAX_SEED = 2**63 - 1
"""torch and NumPy both take it."""


def train(
    context: typer.Context,
    loc: Annotated[
        Loc, typer.Option(help="Localizer in front of the backbone; identity and dead are controls.")
    ] = Loc.LSTN,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="effnet-b0; generate: dcgan",
            help="Backbone, such as effnet-b0, resnet-18 or cnn; any classifier of torchvision's by its own name; any "
            "of timm's as timm:NAME; or your own as MODULE:FACTORY, a callable classes -> torch.nn.Module.",
        ),
    ] = None,
    task: Annotated[
        Task,
        typer.Option(
            help="What it answers: an image's class, labels, objects, text or sentences; or it paints images."
        ),
    ] = Task.CLASSIFY,
    data: Annotated[
        str,
        typer.Option(
            callback=well_named,
            metavar="DATA",
            help="digits (embedded); cifar10, caltech101, gtsrb, svhn, mnist or a distorted mnist-r, -rts, -p, -e or "
            "-cluttered (downloaded); scenes-digits (embedded), scenes-signs (downloaded) or "
            "scenes:OBJECTS,BACKGROUNDS; to read, numbers-digits or captions-digits (embedded), or "
            "captions:FILE[,FOLDER] of COCO's captions; or folder:PATH with "
            "PATH/{train,val,test}/<class>/*, for detectors annotated, to read or to tag with labels.csv.",
        ),
    ] = "digits",
    data_root: DataRoot = None,
    augment: AugmentOption = "none",
    weights: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE|RUN", help="Start the backbone from imagenet, a FILE of weights, or what a RUN learned."
        ),
    ] = "",
    image_size: ImageSize = None,
    fit: Annotated[
        Fit,
        typer.Option(help="How a photo of another shape becomes an image: stretched, padded with the mean, or cut."),
    ] = Fit.STRETCH,
    recipe: Annotated[
        RecipeName,
        typer.Option(help="How weights are fitted; the options down to --equivariance override it."),
    ] = DEFAULT_RECIPE,
    patience: Patience = None,
    batch_size: BatchSizeOrAuto = None,
    accumulate: Accumulate = None,
    optimizer: Optimizer = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    balance: Balanced = None,
    freeze: Freeze = None,
    lr: Rate = None,
    loc_lr_scale: LocRate = None,
    theta: ThetaOption = None,
    iterations: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MAX_ITERATIONS, help="How often the localizer looks, at what it chose so far."
        ),
    ] = 1,
    warps: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            max=REGIONS[1],
            help="Places of an image that the localizer chooses, each with its crop.",
            show_default="1; detect: 16; read: the longest text's; align: 5",
        ),
    ] = None,
    at: Annotated[
        At,
        typer.Option(
            help="What is warped: the image, the map behind the backbone's first layers, or a detector's map."
        ),
    ] = At.INPUT,
    view: View = None,
    crop: Crop = None,
    in_frame: InFrame = None,
    equivariance: Equivariance = None,
    supervise: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            min=0,
            help="Weight of the distance between theta and the true pose, where a set knows it.",
            show_default="0; with --task read or align 1",
        ),
    ] = None,
    teacher: TeacherOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_EPOCHS,
            help="Train at most this many epochs.",
            show_default="25; embedded digits: 5, scenes 10",
        ),
    ] = None,
    hours: Hours = None,
    precision: BackbonePrecision = "fp32",
    device: DeviceName = "auto",
    workers: DecodingWorkers = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MAX_SEED, help="Seed of weights, order and drawn data.")
    ] = 0,
    name: RunName = "",
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder, from its last whole epoch.")
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Train no model, but say which --lr the other options go with.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the backbone first: minutes, which long runs on a GPU win back.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves and warps for TensorBoard, in the run's folder.")
    ] = False,
    wandb: Annotated[
        bool,
        typer.Option("--wandb", help="Log curves and warps to Weights & Biases; WANDB_MODE=offline keeps them here."),
    ] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log curves and warps to the MLflow server of MLFLOW_TRACKING_URI.")
    ] = False,
) -> None:
    """Train a model to see, read or paint images.

    The folder of the run, runs/NAME, holds checkpoint.safetensors (the best epoch), metrics.jsonl, test.json, pictures
    of curves, confusions and warps, and last.safetensors, from which --resume continues after Ctrl-C or a crash.
    lstn doctor RUN says whether its transformer is alive. Processes started by torchrun share every batch.
    docs/how-to/training.md explains all of this.
    """
    begun = begun_run(name, resume, f"training {loc.value} + {model or usual_model(task)} on {data}")
    from lstn.train.choices.asked_run import ChosenNetwork, Course, Guidance
    from lstn.train.choices.choosing import check_localizer, choose_options
    from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges, TransformerChanges

    how = TransformerChanges(loc_lr_scale=loc_lr_scale, theta=theta, in_frame=in_frame, equivariance=equivariance)
    training = TrainingChanges(optimizer, weight_decay, label_smoothing, balance, accumulate, freeze, hours)
    hw, guide, backbone = sizes_of(image_size, view, crop, fit), Guidance(supervise, teacher), name_of(model, task)
    network = ChosenNetwork(
        task=task, loc=loc, model=backbone, weights=weights, warps=warps, iterations=iterations, at=at, sizes=hw
    )
    changes = RecipeChanges(batch_size=batch_size or None, patience=patience, lr=lr, training=training, transformer=how)
    with joined_processes(device) as (world, where):
        with world.together():
            check_localizer([loc], changes)
            spec = named(data, data_root)
            course = Course(data=spec, augment=augment, epochs=epochs, precision=precision, seed=seed, guide=guide)
            chosen = choose_options(recipe, changes, network, course)
            placed = placed_run(chosen, name, begun, typed_options(context))
            asked = TrainingJob(*placed, world, where, workers, model, resumes=bool(begun))
            job = with_batch_size(asked, found=batch_size == AUTO)
        if find_lr:
            try_rates(job)
        else:
            train_run(job, wanted_trackers(tensorboard=tensorboard, wandb=wandb, mlflow=mlflow), compiled=compiled)
