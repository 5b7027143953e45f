"""Generators: noise and a class -> a picture, and where its object is; and the discriminator that they learn from."""
