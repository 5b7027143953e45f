"""`lstn pull`."""

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from lstn.sharing.hub import pull as fetched
from lstn.sharing.hub import repository_named
from lstn.terminal import file_size, note, warn


def pull(
    repository: Annotated[
        str, typer.Argument(callback=repository_named, metavar="USER/NAME", help="As in lstn push.", show_default=False)
    ],
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="A branch, a tag or a commit.", show_default="main")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Keep nothing that the owner of this public key didn't sign.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.", show_default="NAME")] = None,
) -> None:
    """Fetch a model from a hub.

    Takes the files that lstn writes and no others, compares each with the hub's hash, and looks at each as lstn inspect
    does before it keeps any. What a model answers is up to who made it: pull from people that you trust. A TensorRT
    plan holds code for a GPU, so build your own from model.onnx if you don't. With --key it checks who
    signed the files.
    """
    folder = out or Path(PurePosixPath(repository).name)
    names = fetched(repository, folder, revision=revision, key=key)
    for name in names:
        note(f"{folder / name}  {file_size(folder / name)}")
    if key is not None:
        note(f"signed by the owner of {key}")
    engine = next((name for name in names if Path(name).suffix in (".onnx", ".xml", ".plan")), None)
    if any(Path(name).suffix == ".plan" for name in names):
        warn("a plan holds code for a GPU: run it only if you trust who built it")
    told = f"lstn infer images/ --engine {folder / engine}" if engine else f"lstn export {folder / names[0]}"
    note(f"next: {told}")
