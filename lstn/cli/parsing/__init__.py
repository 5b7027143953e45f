"""Parsing of what was typed: options that commands share, and the parser's errors in our words."""
