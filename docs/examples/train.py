"""Train a sparse network, continue with its folder, and train several seeds at once."""

import topokit_train
from topokit_train import TrainConfig, evaluate, train, train_seeds

net = "bernoulli widths=784,300,100 density=.1 seed=0"
result = train(TrainConfig(epochs=2), net, run="run")
print(result)
print(evaluate("run"))
print(train_seeds(TrainConfig(epochs=2), net, "0-2"))
model = topokit_train.load_run("run")
