"""What the text modality is made of: chat masking, packing, attention per document, the loss over the vocabulary."""
