"""What comes before and behind Pillow: bytes without metadata, and modes as RGB. Nothing else of lstn is known here."""
