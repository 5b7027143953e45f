"""Detection: from a model's regions to labelled quadrilaterals, and how good they are. Free of torch."""
