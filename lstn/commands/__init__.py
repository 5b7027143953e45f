"""One module per command: its options, its help, and the call into the stage that does the work.

A stage is imported inside the command function, so that `lstn --help` answers at once and a command needs
only its own extra.
"""
