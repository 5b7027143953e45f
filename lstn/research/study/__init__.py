"""What an experiment on localizers came to: `lstn study`. Free of torch."""
