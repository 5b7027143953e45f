"""How good any model's answers are, on images as they are and disturbed by known amounts."""
