"""Sharing of models: pushing them to a hub with a page that says what they are, and pulling them."""
