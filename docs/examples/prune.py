"""Prune a network during training, and train the topology that remains."""

import topokit
from topokit_train import PruneConfig, TrainConfig, prune, train

pruned = prune(PruneConfig(to=0.9, epochs=2), run="pruned")
print(pruned.sparsity, pruned.test_accuracy)
net = topokit.topology("pruned")
print(net, train(TrainConfig(epochs=2), "pruned", run="again").test_accuracy)
