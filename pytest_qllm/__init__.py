"""A pytest plugin that gates quantized language models against their FP16 baseline."""

__version__ = "0.1.0"
