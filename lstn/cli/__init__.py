"""The `lstn` command: one thin module for each subcommand, and `app`, which turns an error into a line.

A stage is imported inside the command function, so that `lstn --help` answers at once and a command needs only its own
extra.
"""

from lstn.cli.app import main

__all__ = ["main"]
