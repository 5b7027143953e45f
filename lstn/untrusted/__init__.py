"""Reading of JSON that may be hostile."""
