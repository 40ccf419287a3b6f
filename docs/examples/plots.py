"""Draw topologies into files and figures of matplotlib."""

import topokit

figure = topokit.draw("radix-net radices=2,2,2", trace=3)
topokit.save_figure(figure, "edges.svg")
net = topokit.Bernoulli(widths=(64, 32, 10), density=0.2, seed=0)
topokit.save_figure(topokit.draw(net, style="degrees"), "degrees.png")
topokit.draw(net, beside="block widths=64,32,10 block=2 density=.25 seed=0", style="pattern").savefig("patterns.pdf")
