"""A backbone as it is typed: a name, or `MODULE:FACTORY`, which is the user's own."""

from typing import TYPE_CHECKING, Annotated

import typer

from lstn.contract import Task
from lstn.recipe import usual_model

if TYPE_CHECKING:
    from lstn.nn.sources.own_models import OwnFactory

OwnModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:FACTORY",
        help="Where the backbone is made, of a model around a network of your own: the one it was trained with.",
        show_default=False,
    ),
]


def name_of(typed: str | None, task: Task) -> str:
    """Return what a contract calls the backbone that was typed, or the usual one; nothing is imported for it."""
    from lstn.nn.backbones import FOREIGN
    from lstn.nn.sources.own_models import is_own

    if typed is None:
        return usual_model(task)
    return f"{FOREIGN}{typed}" if is_own(typed) else typed


def factory_of(typed: str | None) -> "OwnFactory | None":
    """Import what makes the backbone that was typed, if it is the user's own.

    Raises:
        UsageError: it can't be imported.
    """
    from lstn.nn.sources.own_models import is_own, own_factory

    return own_factory(typed) if typed is not None and is_own(typed) else None
