"""PyTorch training on sparse topologies."""
