"""Make a model of your own sparse: with masked weights, or with one number for each edge."""

import copy

import torch

import topokit_train

dense = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 10))
net = "bernoulli widths=20,30,10 density=.2 seed=0"
masked = topokit_train.sparsify(copy.deepcopy(dense), net, masked=True)
sparse = topokit_train.sparsify(copy.deepcopy(dense), net)
x = torch.randn(5, 20)
assert torch.allclose(masked(x), sparse(x), atol=1e-5)
print(topokit_train.report(sparse))
