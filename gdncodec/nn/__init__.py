"""The codec as PyTorch modules: transforms, density, loss."""
