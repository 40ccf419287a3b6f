"""Sweeps: grids of runs, described in a TOML file and done by any executor.

`grid.py` reads a file as `Planned` runs, each named by a hash of its identity; `folder.py` reads the state of each;
`execution.py` submits them to an executor; `tables.py` writes their results.
"""
