"""Placement: decide which layer of a topology fills which weight of a model.

Only this package decides it: sparse layers, masks, `topokit mask` and grids all call `place` or `fill`.
"""
