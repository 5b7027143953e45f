"""The network: localizers, theta's forms, the transformer, backbones, the classifier and its checkpoint."""
