"""topokit: make, prove and look at sparse layered topologies."""
__version__ = "0.1.0"
