"""Train a grid of networks that a dictionary describes."""

from topokit_train import sweep

grid = {
    "defaults": {"epochs": 1},
    "runs": [
        {"label": "dense", "topology": "dense", "each": {"seed": range(2)}},
        {"label": "sparse", "topology": "bernoulli widths=784,300,100 density=.1", "each": {"seed": [0, 1]}},
    ],
}
found = sweep(grid, "grid")
print(found)
