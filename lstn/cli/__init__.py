"""The `lstn` command: one thin module for each subcommand, and `app`, which turns an error into a line.

What they share and what is more than one call lies in three rooms: `parsing` what was typed, `steps` what a command
does, `display` what it prints.

A stage is imported inside the command function, so that `lstn --help` answers at once and a command needs only its own
extra.
"""

from lstn.cli.app import main

__all__ = ["main"]
