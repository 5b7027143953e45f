"""Options of a training besides its network and recipe, which `lstn train` and `lstn study` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lstn.machine.cores import within_cores

DataRoot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where downloaded sets are kept.", show_default="the user's cache folder"),
]
AugmentOption = Annotated[
    str,
    typer.Option(
        metavar="A,B,…",
        help="Change training images: affine (turn, shift, scale a little) or standard (crop, and mirror where fit); "
        "and randaugment, erase, mixup, cutmix.",
    ),
]
BackbonePrecision = Annotated[
    Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the backbone; the transformer stays in fp32.")
]
DecodingWorkers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        callback=within_cores,
        min=0,
        help="Processes that decode images too many for memory.",
        show_default="one per core, up to 8",
    ),
]
