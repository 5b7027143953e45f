"""Images -> answers: sources, decoding ahead of an engine, result rows, warp pictures."""
