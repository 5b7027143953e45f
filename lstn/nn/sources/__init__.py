"""Sources of backbones: torchvision, timm, the user, and what neither has; how each starts, and where it divides."""
