"""What the modalities other than text have in common: results, caches, pictures, families of diffusion models."""
