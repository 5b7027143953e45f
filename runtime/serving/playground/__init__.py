"""The page at `/` of `lstn serve`: a picture in, and what the transformer and the backbone make of it."""
