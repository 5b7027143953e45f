"""Images -> checkpoint: the training of a network of `lstn.nn`."""
