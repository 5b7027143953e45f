"""Versions of the contract: which of them can say what."""

from dataclasses import fields

from lstn.contract.choices import Loc
from lstn.contract.contract_fields import ContractFields
from lstn.contract.tasks import Task
from lstn.contract.theta_forms import FORM_TRAITS

VERSION = 9
"""Version 2 can say what theta is bounded to; version 3 a localizer that isn't the paper's, several iterations, and a
transformer that isn't in front of everything; version 4 the localizer `glance`, a view and a crop that are smaller than
the image, warps that aren't affine, several warps of an image, detectors, and a temperature; version 5 how a photo of
another shape becomes an input; version 6 readers; version 7 readers of words; version 8 generators; version 9
models that tag. A contract is written in the oldest version that can say it."""

FIELD_SINCE = {
    "theta": 2,
    "iterations": 3,
    "at": 3,
    "view_hw": 4,
    "crop_hw": 4,
    "warps": 4,
    "task": 4,
    "temperature": 4,
    "fit": 5,
    "separator": 7,
    "noise": 8,
    "thresholds": 9,
}
"""Fields that a contract of version 1 lacks, and the first version that has them."""

ADDED_LATER = ("warps", "task", "temperature")
"""Fields that were added to version 4 later: older files of version 4 lack them, and mean their defaults."""

_TASK_SINCE = {
    Task.CLASSIFY: 1,
    Task.TAG: 9,
    Task.DETECT: 4,
    Task.READ: 6,
    Task.ALIGN: 7,
    Task.GENERATE: 8,
}
"""The first version that can name a task, or means it; total over `Task`."""

_LOC_SINCE = {
    Loc.NONE: 1,
    Loc.STN: 1,
    Loc.VSTN: 1,
    Loc.LSTN: 1,
    Loc.SHARED: 3,
    Loc.IDENTITY: 3,
    Loc.DEAD: 3,
    Loc.GLANCE: 4,
}
"""The first version that can name each localizer. Total over `Loc`."""


def oldest_version(contract: ContractFields) -> int:
    """Return the oldest version that can say all of a contract."""
    usual = {each.name: each.default for each in fields(ContractFields)}
    used = [since for name, since in FIELD_SINCE.items() if getattr(contract, name) != usual[name]]
    named = (_LOC_SINCE[contract.loc], FORM_TRAITS[contract.theta].since, _TASK_SINCE[contract.task])
    return max([1, *named, *used])


def version_fields(version: int) -> list[str]:
    """Return the names of the fields that a contract of a version has."""
    return [each.name for each in fields(ContractFields) if version >= FIELD_SINCE.get(each.name, 1)]


def check_known(contract: ContractFields, version: int) -> None:
    """Check that a version can name what a contract of it names.

    Raises:
        ValueError: it is older than a localizer, a theta or a task in it.
    """
    if version < _LOC_SINCE[contract.loc]:
        raise ValueError(f"version {version} knows no loc {contract.loc.value}")
    if version < FORM_TRAITS[contract.theta].since:
        raise ValueError(f"version {version} knows no theta {contract.theta.value}")
    if version < _TASK_SINCE[contract.task]:
        raise ValueError(f"version {version} knows no task {contract.task.value}")
