"""The `lstn` command: its subcommands, and the one place where an error becomes a line and an exit code."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lstn.cli.commands import STYLE, CommandGroup
from lstn.cli.parsing.misuse import is_misuse, refuse_empty, usage_error
from lstn.errors import LstnError, MissingExtra, UsageError
from lstn.machine.cores import share_cores
from lstn.terminal import hush_warnings, messages, printable, speak_plainly

app = typer.Typer(name="lstn", cls=CommandGroup, no_args_is_help=True, **STYLE)

_IN_EXTRAS = frozenset(
    {"torch", "torchvision", "safetensors", "matplotlib", "onnx", "onnxconverter_common", "onnxscript"}
)
_EXTRAS_OF = {
    "train": "train",
    "study": "train",
    "export": "export",
    "calibrate": "calibrate,runtime",
    "tune": "tune,calibrate,runtime",
    "claims": "train,export,runtime",
    "attack": "train,runtime",
    **dict.fromkeys(("explain", "infer", "serve", "bench"), "export"),  # of a run
}
"""What a command needs that imports such packages by itself; the runtime's go through `require`."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from lstn.machine.version import __version__

        typer.echo(f"lstn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # read by main()
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Image models with spatial transformers, from training to a measured deployment.

    Start with train, then export, then infer. `lstn doctor` shows what this machine can do.
    """


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 for a failure, 2 for wrong use, 130 after Ctrl-C."""
    debug = "--debug" in sys.argv[1:]
    if not debug:
        hush_warnings()
    try:
        try:
            _open_closed_streams()
            _refuse_planted_driver()
            speak_plainly()
            share_cores()
            refuse_empty(sys.argv[1:])
            code = app(prog_name="lstn", standalone_mode=False)
        finally:
            sys.stdout.flush()  # here a failure becomes a line; at Python's end it would become a traceback
    except LstnError as error:
        _fail(error, debug=debug)
    except typer.Abort:  # Ctrl-C, to an older Typer
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _IN_EXTRAS:
            _fail_internally(error, debug=debug)
        extras = next((_EXTRAS_OF[word] for word in sys.argv[1:] if word in _EXTRAS_OF), "train")
        from lstn.install import install_line

        _fail(MissingExtra(f"{package} is not installed", hint=f"run: {install_line(extras)}"), debug=debug)
    except OSError as error:
        _fail_outside(error, debug=debug)
    except UnicodeEncodeError as error:  # a name that a library wants as UTF-8; each library says so in its own way
        _fail(LstnError(f"{error.object[:200]!a}: not text in UTF-8", hint="rename the file or folder"), debug=debug)
    except Exception as error:
        if not is_misuse(error):
            _fail_internally(error, debug=debug)
        _show_help_alone(error)
        _fail(usage_error(error), debug=debug)
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Open what was closed before the start, as by `>&-`, on the null device: else the next file takes its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end


def _refuse_planted_driver() -> None:
    """Refuse a folder that has an NVIDIA driver in it: nvidia-cusparselt 0.8.1, of PyTorch, would load and run it."""
    planted = Path("libcuda.so.1")
    if planted.exists():
        hint = "move it away, or start lstn in another folder"
        raise UsageError(f"{planted} lies in the current folder, and PyTorch would run it as the driver", hint=hint)


def _show_help_alone(error: Exception) -> None:
    """`lstn` with nothing behind it gets the help, from a Typer that raises it as an error."""
    if (text := str(error)).startswith("Usage:"):
        typer.echo(text, err=True)
        sys.exit(2)


def _fail(error: LstnError, *, debug: bool) -> NoReturn:
    if debug:
        messages().print_exception()
    messages().print("error:", style="bold red", end=" ")
    messages().print(printable(error.message), markup=False, soft_wrap=True)
    if error.hint:
        messages().print(f"  {printable(error.hint)}", markup=False, soft_wrap=True)
    sys.exit(error.exit_code)


def _fail_outside(error: OSError, *, debug: bool) -> NoReturn:
    """The system refused: a full disk behind `> rows.csv`, a folder that may not be read, a reader that left early."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = io.StringIO()  # else Python tries again at its end, and says so
    if isinstance(error, BrokenPipeError):
        sys.exit(1)
    if error.errno is None:  # a library's own, such as ctypes'
        _fail_internally(error, debug=debug)
    unnamed = "the current folder" if error.errno == errno.ENOENT else "output"
    _fail(LstnError(f"{error.filename or unnamed}: {error.strerror}"), debug=debug)


def _fail_internally(error: Exception, *, debug: bool) -> NoReturn:
    """A defect of lstn: still one line, because a traceback helps only whoever asks for it."""
    described = " ".join(str(error).split()) or "no message"
    hint = "this is a defect of lstn; lstn --debug … shows where, please report it"
    _fail(LstnError(f"{type(error).__name__}: {described:.300}", hint=hint), debug=debug)
