"""Results as data frames of pandas."""

import topokit
from topokit_train import TrainConfig, train_seeds

net = topokit.RadixNet(radices=[(10, 10)], kron=(8, 3, 1))
checks = topokit.verify(net).to_frame()
print(checks[["check", "verdict"]])
print(topokit.fit((784, 300, 100), 0.1, limit=3).to_frame()[["density", "dead_units"]])
runs = train_seeds(TrainConfig(epochs=1), topokit.crop(net, (784, 300, 100)), [0, 1]).to_frame()
print(runs.groupby("model").test_accuracy.agg(["mean", "std"]))
