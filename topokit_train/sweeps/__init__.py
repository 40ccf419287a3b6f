"""Sweeps: grids of runs, described in a TOML file and carried out by any executor.

`grid.py` turns a file into `Planned` runs, each named by a hash of what it computes; `folder.py` knows what became of
each; `execution.py` has them done; `tables.py` puts them side by side.
"""
