"""Attribution: what in a crop speaks for a label, or excites a feature map: for checkpoints."""
