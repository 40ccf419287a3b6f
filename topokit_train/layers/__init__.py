"""Sparse layers: modules that have a topology layer's edges, one value for each weight, and a kernel."""
