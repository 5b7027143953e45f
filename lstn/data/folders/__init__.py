"""Folders of images: found, listed, divided, checked, and what tables and folders say of each image."""
