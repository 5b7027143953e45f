"""`--device`: where a model computes, as it is typed, in every command that has the option."""

from typing import Annotated

import typer

from lstn.machine.gpu import well_named_device

DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        callback=well_named_device,
        metavar="DEVICE",
        help="Where it computes: auto, cpu, cuda, or, with PyTorch, cuda:N. A plan always takes the GPU.",
    ),
]
