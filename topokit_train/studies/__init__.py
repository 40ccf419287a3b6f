"""Studies: experiments as grids of runs, and the report that their tables are turned into."""
