"""Measure a topology, and compare it with random networks of the same degrees."""

import topokit

net = topokit.RadixNet(radices=[(3, 3)], kron=(2, 2, 1))
print(topokit.profile(net, "paths").measures["paths"])
print(topokit.compare(net, twins=5))
