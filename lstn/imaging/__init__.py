"""Image files around Pillow: bytes without metadata before it, modes as RGB and photos framed to an input after it."""
