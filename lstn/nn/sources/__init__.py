"""Backbones that lstn's own table doesn't name: torchvision's, timm's, and the user's."""
