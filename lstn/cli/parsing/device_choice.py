"""The device that PyTorch is to use, as it is typed."""

from typing import Annotated

import typer

from lstn.machine.gpu import well_named_device

DeviceName = Annotated[
    str,
    typer.Option("--device", callback=well_named_device, metavar="DEVICE", help="auto, cpu, cuda or cuda:N."),
]
