"""Build topologies, save them and read them again."""

import topokit

net = topokit.build(radices=[(10, 10)], kron=(8, 3, 1), crop=(784, 300, 100), output="radix.safetensors")
same = topokit.build("radix-net radices=10,10 kron=8,3,1 crop=784,300,100")
print(net.widths, net.density, same == net)

random = topokit.Bernoulli(widths=net.widths, density=net.density, seed=0)
topokit.convert(random, "random.npz")
print(topokit.fit("784-300-100 at 95 %"))
