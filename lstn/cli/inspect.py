"""`lstn inspect`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.display.screen import results, show_facts
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.old_spellings import OldJson, Printed, PrintedOption, wants_json
from lstn.formats.contract_facts import contract_facts
from lstn.formats.inspection import Inspection, inspect_file
from lstn.formats.plan_file import Tensor
from lstn.health.run_files import checkpoint_of
from lstn.zoo.model_card import card_facts, read_card

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
"""What TensorRT calls otherwise than everybody else."""


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            callback=from_zoo,
            help="A run, a checkpoint, model.onnx, model.xml or model.plan; or zoo:NAME.",
            metavar="FILE|RUN",
        ),
    ],
    format_: PrintedOption = Printed.TEXT,
    json_: OldJson = False,
) -> None:
    """Show what a model file is.

    Shows contract, inputs, outputs and operators, or a plan's header and sidecar. Only lstn itself has to be installed.
    The exit code is 1 if something is wrong with the file.
    """
    found, card = inspect_file(checkpoint_of(file) if file.is_dir() else file), read_card(file)
    if wants_json(format_, json_):
        typer.echo(json.dumps(_values(found) | ({} if card is None else {"card": asdict(card)}), indent=1))
    else:
        _show(found)
        if card is not None:
            console = results()
            console.print()
            show_facts(console, card_facts(card))
    if found.problem is not None:
        raise found.problem


def _values(found: Inspection) -> dict[str, object]:
    return {
        "kind": found.kind,
        "contract": None if found.contract is None else json.loads(found.contract.to_json()),
        "facts": dict(found.facts),
        "inputs": [_shape(tensor) for tensor in found.inputs],
        "outputs": [_shape(tensor) for tensor in found.outputs],
        "operators": dict(found.operators),
        "problem": found.problem and found.problem.message,
    }


def _show(found: Inspection) -> None:
    console = results()
    console.print(found.kind, style="bold", markup=False)
    if found.contract is not None:
        show_facts(console, contract_facts(found.contract))
        console.print()
    tensors = {"input": found.inputs, "output": found.outputs}
    shapes = {kind: "\n".join(_shape(tensor) for tensor in each) for kind, each in tensors.items() if each}
    show_facts(console, {**found.facts, **shapes})
    if found.operators:
        console.print()
        total = sum(found.operators.values())
        ranked = sorted(found.operators.items(), key=lambda item: (-item[1], item[0]))
        show_facts(console, {"operators": str(total), **{name: str(count) for name, count in ranked}}, right=True)


def _shape(tensor: Tensor) -> str:
    sizes = ", ".join("N" if size == -1 else str(size) for size in tensor.shape)
    return f"{tensor.name} {_DTYPES.get(tensor.dtype, tensor.dtype.lower())} ({sizes})"
