"""Pruning: dense training in which the smallest weights become zero, and the wiring that is left.

`train(PruneConfig(...))` is a pruning run: a training run with a `Pruner`. config.py holds its settings; schedule.py
says how sparse the network is to be after each step, magnitude.py which weights go, and wiring.py keeps what is left.
"""
