"""Reference of the commands: one page each, written from the options that the code declares."""

import re
import shutil
from pathlib import Path

import click
import typer.main
from sphinx.application import Sphinx
from sphinx.config import Config

from lstn.cli.app import app as lstn
from lstn.report.table import markdown_table

FOLDER = Path(__file__).parents[1] / "reference" / "commands"


def write_pages(_app: Sphinx, _config: Config) -> None:
    """Write docs/reference/commands/NAME.md for every command, and an index in the order of `lstn --help`."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    group = typer.main.get_command(lstn)
    context = click.Context(group, info_name="lstn")  # type: ignore[arg-type]
    commands: dict[str, click.Command] = group.commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        (FOLDER / f"{name}.md").write_text(page_of(name, command, context))
    (FOLDER / "index.md").write_text(index_of(commands))


def index_of(commands: dict[str, click.Command]) -> str:
    """Return the page that lists the commands, each with its summary."""
    rows = [(f"[`lstn {name}`]({name}.md)", escaped(summary_of(command))) for name, command in commands.items()]
    toctree = ["```{toctree}", ":hidden:", *commands, "```"]
    lines = ["# Commands", "", markdown_table(("command", "what it does"), rows, words=2), "", *toctree, "", ALL, ""]
    return "\n".join(lines)


ALL = """Every command has `--help`. An error is one line that says what was found, and one that says what to do;
`lstn --debug COMMAND` shows its traceback. Exit codes are 0 for success, 1 for a failure, 2 for wrong use and 130 after
Ctrl-C."""


def page_of(name: str, command: click.Command, context: click.Context) -> str:
    """Return the page of one command: how it is typed, what it does, its arguments and options."""
    own = command.make_context(name, [], parent=context, resilient_parsing=True)
    usage = " ".join(["lstn", name, *command.collect_usage_pieces(own)])
    lines = [f"# lstn {name}", "", "```text", usage, "```", "", *paragraphs(command.help or ""), ""]
    lines += [f"```{{program}} lstn {name}", "```", ""]
    for parameter in command.get_params(own):
        lines += described(parameter, own)
    return "\n".join(lines)


def described(parameter: click.Parameter, context: click.Context) -> list[str]:
    """Return one argument or option as Sphinx's own directive, so that it can be linked to."""
    record = parameter.get_help_record(context)
    if record is None:
        return []
    spelled, text = record
    if parameter.param_type_name == "argument":
        spelled = spelled.split(" ")[0]
    return [f"```{{option}} {spelled}", escaped(text), "```", ""]


def summary_of(command: click.Command) -> str:
    """Return the first line of a command's help."""
    return (command.help or "").strip().splitlines()[0]


def paragraphs(text: str) -> list[str]:
    """Return the help text as Markdown, paragraph by paragraph."""
    return [line for part in re.split(r"\n\s*\n", text.strip()) for line in (escaped(" ".join(part.split())), "")]


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows exactly that; what is in backticks stays code."""
    plain = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}|$~`])", r"\\\1", part) for part in plain)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", write_pages, priority=100)
    return {"parallel_read_safe": True}
