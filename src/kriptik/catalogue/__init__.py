"""The facts: methods, models, GPUs, prices and data needs as dated data files, plus their loader. No decisions."""
