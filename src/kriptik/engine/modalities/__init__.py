"""What the model is about: one file per modality."""
