"""`python -m lstn`, for `torchrun -m lstn` and for checkouts that were never installed."""

from lstn.cli.app import main

main()
