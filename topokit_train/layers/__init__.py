"""Sparse layers: a pattern, its kernel, and the values at its edges, as modules that stand in any network."""
