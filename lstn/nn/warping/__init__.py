"""The transformer and its parts: localizers, forms of theta, grids."""
