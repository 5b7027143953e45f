"""Images with any number of labels: tables of them, and the sets that a model learns to tag from."""
