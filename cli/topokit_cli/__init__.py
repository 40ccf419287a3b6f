"""The topokit command."""
