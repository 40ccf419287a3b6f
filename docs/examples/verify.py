"""Verify what a topology promises."""

import topokit

report = topokit.verify("radix-net radices=2,2,2 kron=10,10")
print(report)
assert report.verdict == "holds"
one = topokit.verify("bernoulli widths=80,80 density=.1 seed=0", "connectivity")
print(one["connectivity"].verdict, one["connectivity"].witness)
