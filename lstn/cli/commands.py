"""The commands by name. Each is imported when it is asked for, so `lstn --help` waits for none of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

COMMANDS = {
    "train": "Train a model to see, read or paint images.",
    "study": "Compare localizers fairly.",
    "evaluate": "Measure accuracy, average precision or texts.",
    "explain": "Show what moves a model's answer.",
    "attack": "Mislead a checkpoint by small changes.",
    "export": "Write model.onnx, a plan or OpenVINO files.",
    "calibrate": "Lower the precision and report its cost.",
    "infer": "Classify, tag, read, search or paint images.",
    "serve": "Answer requests over HTTP and gRPC.",
    "bench": "Compare how fast models are.",
    "compare": "Compare models: accuracy, size and time.",
    "tune": "Find the fastest setting of a model here.",
    "claims": "Check the L-STN paper's numbers and claims.",
    "push": "Put a model on a hub, with a page.",
    "pull": "Fetch a model from a hub.",
    "inspect": "Show what a model file is.",
    "doctor": "Check this machine, a run, or a data set.",
}
"""Name -> the first line of its docstring. `lstn.cli.NAME` has a function of the same name."""

STYLE: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class LazyCommands(MutableMapping[str, Any]):
    """COMMANDS, each made of its function when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            if name not in COMMANDS:
                raise KeyError(name)
            single = typer.Typer(add_completion=False, **STYLE)
            single.command(name, cls=PlainCommand)(getattr(import_module(f"lstn.cli.{name}"), name))
            self._made[name] = typer.main.get_command(single)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]


class PlainCommand(TyperCommand):
    """A command whose help names an argument by what the user types alone; Typer adds the type that Python sees.

    It says which options are given more than once although only the last one counts.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed."""
        for word in _repeated(self.get_params(ctx), args):
            from lstn.terminal import warn

            warn(f"{word} is given more than once; only the last one counts")
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:  # the parser forgets which command lacks a value
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options."""
        records = [(isinstance(each, TyperArgument), each.get_help_record(ctx)) for each in self.get_params(ctx)]
        for title, of_arguments in (("Arguments", True), ("Options", False)):
            rows = [record for is_argument, record in records if record and is_argument is of_arguments]
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name.split(" ")[0] if of_arguments else name, said) for name, said in rows])


def _repeated(params: Iterable[Any], args: Sequence[str]) -> list[str]:
    """Return the options that take one value and are given several."""
    single = {name for each in params if not getattr(each, "multiple", True) for name in each.opts}
    words = args[: args.index("--")] if "--" in args else args
    given = Counter(word.partition("=")[0] for word in words)
    return [name for name, count in given.items() if count > 1 and name in single]


class CommandGroup(TyperGroup):
    """`lstn`, whose help lists the commands without importing them."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every command with its summary."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
