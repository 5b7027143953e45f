"""Study of localizers: `lstn study`. Free of torch."""
