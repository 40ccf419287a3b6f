"""Pruning: dense training during which the smallest weights become zero; the topologies that are left are saved.

`train(PruneConfig(...))` is a pruning run: a training run with a `Pruner`. config.py has its settings; schedule.py
says how sparse the network is after each step, magnitude.py which weights are pruned.
"""
