"""Whole runs: how they start, go on and end, and the files they leave."""
