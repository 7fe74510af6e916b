"""Whole evaluations from what was measured before: summary table, correlations, the memory-quality plane. No model."""
