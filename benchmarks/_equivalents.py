"""Faults that change nothing that a caller can see, each with the reason: mutants.py does not draw them."""

EQUIVALENTS: dict[str, str] = {}
