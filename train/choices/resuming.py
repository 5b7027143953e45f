"""Options of a run that is resumed: what it was begun with, but for the few things that may change."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from lstn.errors import UsageError
from lstn.train.choices.recipe_changes import check_budget, option_of
from lstn.train.runs.options import Options, said
from lstn.train.runs.run_state import LAST, read_options

_MAY_CHANGE = frozenset({"data", "teacher", "epochs", "patience", "hours"})
"""Options of a resumed run that may be others: the rest make it another run. Of data and teacher the contents are
compared."""


def resumed(folder: Path, given: Options, typed: Collection[str]) -> Options:
    """Return the options of the run in `folder`, with what may change about them.

    given: what the command line says, or has as its defaults
    typed: names of the options that somebody gave

    Raises:
        UsageError: what was given would make it another one.
    """
    stored = read_options(folder / LAST)
    before, now = stored.values(), given.values()
    for name in sorted({"name", "recipe", *now} - _MAY_CHANGE & set(typed)):
        if name not in now or now[name] != before[name]:
            option = option_of(name)
            has = f"; {folder} has {_told(before[name])}" if name in before else ""
            raise UsageError(
                f"{option} can't change in a run that is resumed{has}",
                hint=f"leave {option} out, or start a new run",
            )
    recipe = replace(
        stored.recipe,
        patience=given.recipe.patience if "patience" in typed else stored.recipe.patience,
        hours=given.recipe.hours if "hours" in typed else stored.recipe.hours,
    )
    check_budget(recipe.hours, given.epochs if "epochs" in typed else None)
    return replace(
        stored,
        data=given.data if "data" in typed else stored.data,
        teacher=given.teacher if "teacher" in typed else stored.teacher,
        epochs=given.epochs if "epochs" in typed else stored.epochs,
        recipe=recipe,
    )


def _told(value: object) -> str:
    return said((int(value[0]), int(value[1]))) if isinstance(value, (tuple, list)) else str(value)
