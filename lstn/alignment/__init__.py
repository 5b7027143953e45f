"""Alignment of words and regions: scores of sentences for images, and which region each word is about."""
