"""Texts that readers read: decoding of steps, and scores of whole texts and of symbols."""
