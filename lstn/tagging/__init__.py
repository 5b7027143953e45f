"""Tagging: from a model's logits to all labels of an image, and how good they are. Free of torch."""
