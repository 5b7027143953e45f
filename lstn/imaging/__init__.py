"""Image files around Pillow: bytes without metadata before it, modes as RGB after it. Knows nothing else of lstn."""
