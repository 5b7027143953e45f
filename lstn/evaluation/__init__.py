"""Evaluation of any model's answers, on images as they are and disturbed by known amounts."""
