"""What is compared: the ways to quantize a model."""
