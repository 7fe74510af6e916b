"""Verdicts in, text out. Pure: knows neither pytest nor a model."""
