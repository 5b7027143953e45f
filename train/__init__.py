"""Images -> checkpoint: the network, its training and its weights."""
