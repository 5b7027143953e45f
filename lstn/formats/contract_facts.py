"""Facts of a contract in words, as `lstn inspect` and a model's page on a hub show them."""

from collections.abc import Sequence

from lstn.contract import At, Contract, Fit, Task, ThetaForm

_SHOWN_LABELS = 12


def contract_facts(contract: Contract) -> dict[str, str]:
    """Return what a contract says, by name, in the order to show it."""
    labels = ", ".join(contract.labels[:_SHOWN_LABELS]) + (", …" if len(contract.labels) > _SHOWN_LABELS else "")
    task = {} if contract.task is Task.CLASSIFY else {"task": contract.task.value}
    return {
        **task,
        "localizer": _localizer(contract),
        "backbone": contract.backbone,
        "image": "{} x {} pixels".format(*contract.image_hw),
        **({} if contract.fit is Fit.STRETCH else {"fit": contract.fit.value}),
        **_other_sizes(contract),
        "mean, std": f"{_numbers(contract.mean)};  {_numbers(contract.std)}",
        **({} if contract.temperature == 1 else {"temperature": f"{contract.temperature:.3g}"}),
        **({"thresholds": _thresholds(contract)} if contract.task is Task.TAG else {}),
        "labels": f"{len(contract.labels)}: {labels}",
    }


def _thresholds(contract: Contract) -> str:
    """Return those of the labels that are shown, or that they are all a half."""
    if not contract.thresholds:
        return "0.5 for each label"
    shown = [f"{each:.2f}" for each in contract.thresholds[:_SHOWN_LABELS]]
    return ", ".join([*shown, *(["…"] if len(contract.thresholds) > _SHOWN_LABELS else [])])


def _other_sizes(contract: Contract) -> dict[str, str]:
    """Return the sizes of what localizer and backbone get, where they aren't the image's."""
    sizes = {"localizer sees": contract.view_hw, "crop": contract.crop_hw}
    return {name: "{} x {} pixels".format(*size) for name, size in sizes.items() if size is not None}


_OF_A_TASK: dict[Task, str] = {
    Task.CLASSIFY: "warps",
    Task.TAG: "warps",
    Task.DETECT: "regions",
    Task.READ: "symbols",
    Task.ALIGN: "regions",
    Task.GENERATE: "objects",
}
"""What the warps of a model are. Total over `Task`."""


def _localizer(contract: Contract) -> str:
    """Return its name, and what of the transformer isn't as in the paper."""
    words = [contract.loc.value]
    if contract.theta is not ThetaForm.AFFINE:
        words.append(f"theta {contract.theta.value}")
    if contract.warps > 1:
        words.append(f"{contract.warps} {_OF_A_TASK[contract.task]}")
    if contract.iterations > 1:
        words.append(f"{contract.iterations} iterations")
    if contract.at is not At.INPUT:
        words.append(f"at the {contract.at.value}")
    return ", ".join(words)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
