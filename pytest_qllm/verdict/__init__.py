"""From paired scores to a verdict. Pure numpy and scipy: knows no model, no file and no pytest."""
