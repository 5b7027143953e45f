"""The page of a model on a hub: README.md, made of its contract and of measured figures alone."""

import json
from pathlib import PurePosixPath

from lstn.contract import Task
from lstn.evaluation.scores import wilson
from lstn.formats.contract_facts import contract_facts
from lstn.health.run_health import JUDGED
from lstn.report.table import markdown_table
from lstn.sharing.shared_model import SharedModel
from lstn.terminal import printable

_PIPELINES: dict[Task, str] = {
    Task.CLASSIFY: "image-classification",
    Task.TAG: "image-classification",
    Task.DETECT: "object-detection",
    Task.READ: "image-to-text",
    Task.ALIGN: "image-feature-extraction",
    Task.GENERATE: "unconditional-image-generation",
}
"""What hubs call a task. Total over `Task`."""

_ENGINES = (".onnx", ".xml", ".plan")


def hub_page(model: SharedModel, repository: str, licence: str = "") -> str:
    """Return the page, in Markdown under a YAML head.

    repository: USER/NAME
    licence:    an identifier such as `apache-2.0`; empty: the page names none
    """
    head = {
        "library_name": "lstn",
        "pipeline_tag": _PIPELINES[model.contract.task],
        **({"license": licence} if licence else {}),
        "tags": ["spatial-transformer", model.contract.loc.value, model.contract.backbone],
    }
    name = PurePosixPath(repository).name
    said = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in head.items()),  # YAML reads JSON
        "---",
        "",
        f"# {name}",
        "",
        "A model of lstn, a toolkit that trains, exports and runs image models behind spatial transformers.",
        "",
        "## Use",
        "",
        *_use(model, repository),
        "",
        "## What it is",
        "",
        _facts(contract_facts(model.contract)),
        "",
        "## How good it is",
        "",
        *_measured(model),
        "",
        "## Files",
        "",
        markdown_table(
            ("file", "what it is", "bytes", "SHA-256"),
            [(f"`{each.name}`", each.kind, f"{each.bytes:,}", f"`{each.sha256}`") for each in model.files],
            words=2,
        ),
        "",
    ]
    return "\n".join(said)


def _use(model: SharedModel, repository: str) -> list[str]:
    name = PurePosixPath(repository).name
    engine = next((each.name for each in model.files if each.path.suffix in _ENGINES), None)
    lines = ["```sh", f"lstn pull {repository}"]
    if engine is None:
        lines += [f"lstn export {name}/{model.files[0].name}"]
    wanted = "--count 8 --out pictures" if model.contract.task is Task.GENERATE else "images/"
    return [*lines, f"lstn infer {wanted} --engine {'model.onnx' if engine is None else f'{name}/{engine}'}", "```"]


def _measured(model: SharedModel) -> list[str]:
    facts = {}
    if (training := model.training) is not None:
        judged = f"validation{JUDGED[model.contract.task] or ' accuracy'}"
        facts = {
            "trained on": training.data,
            judged: f"{training.val_accuracy:.1%}, of the epoch that was chosen by it",
        }
    if (tested := model.tested) is not None:
        found = wilson(round(tested.top1 * tested.images), tested.images)
        facts["test accuracy"] = (
            f"{found.value:.1f} % of {tested.images:,} images (95 % interval {found.low:.1f} to {found.high:.1f} %)"
        )
    return [_facts(facts)] if facts else ["The files don't say what it was trained on."]


def _facts(facts: dict[str, str]) -> str:
    return markdown_table(("", ""), [(name, _plain(value)) for name, value in facts.items()], words=2)


def _plain(value: str) -> str:
    """Return text of a file that a stranger may have made, so that it can't become markup."""
    return "".join(f"&#{ord(sign)};" if sign in "<>&`*_[]" else sign for sign in printable(value))
