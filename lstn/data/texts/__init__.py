"""Images whose text is known: drawn numbers, and folders with a table of texts."""
