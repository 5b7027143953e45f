"""`lstn` and `python -m lstn`, the latter for `torchrun -m lstn` and for checkouts that were never installed."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is imported ends it as Ctrl-C does later on."""
    try:
        from lstn.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
