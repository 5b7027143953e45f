"""Display of a command's findings: tables, facts, and bars of long work."""
