"""KripTik: one sentence in, a trained model out."""

__version__ = "0.1.0"
