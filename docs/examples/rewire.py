"""A training method: drop the smallest weights of each layer, and grow as many edges at random (SET).

Use it from the command line:

    topokit train --method 'rewire.py:Rewire every=20 fraction=.2'

Source: Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse connectivity inspired
by network science", Nature Communications 9, 2383.
"""

import numpy as np

import topokit as tk
from topokit_train import Method


class Rewire(Method):
    """Replace a share of each layer's edges at regular intervals.

    Args:
        every: number of steps from one change of the edges to the next.
        fraction: share of each layer's edges that is replaced.
    """

    def __init__(self, every: int = 100, fraction: float = 0.3):
        if every < 1 or not 0 < fraction < 1:
            raise ValueError("every must be at least 1, and fraction above 0 and below 1")
        self.every, self.fraction = every, fraction
        self.replaced = 0  # edges, in all changes so far

    def prepare(self, trainer):
        """Refuse a model that has no edges to change."""
        if not trainer.sparse_layers:
            raise ValueError("the model has no sparse layer: give a topology")

    def after_step(self, trainer):
        """Change the edges of every sparse layer, if this is the step to do so."""
        if trainer.steps_done % self.every or trainer.steps_done == trainer.steps:
            return
        seed = trainer.generator().initial_seed()  # the same in every process, and in a resumed run
        random = np.random.default_rng(seed)
        changed = {name: self._changed(layer, random) for name, layer in trainer.sparse_layers.items()}
        trainer.rewire(changed)

    def _changed(self, layer, random):
        """The edges of a layer, the weakest of which are replaced by random ones."""
        edges = layer.topology_layer()
        sources, targets = edges.shape
        numbers = edges.sources * targets + edges.targets  # each edge as one number, in the order of `values`
        magnitudes = layer.to_canonical(layer.values.detach()).abs().cpu().numpy()
        magnitudes = magnitudes.reshape(len(numbers), -1).sum(1)  # of a convolution's filters
        count = min(int(self.fraction * len(numbers)), sources * targets - len(numbers))
        kept = numbers[np.sort(np.argsort(magnitudes, kind="stable")[count:])]
        absent = np.ones(sources * targets, bool)
        absent[numbers] = False
        grown = random.choice(np.flatnonzero(absent), count, replace=False)
        self.replaced += count
        both = np.sort(np.concatenate([kept, grown]))
        return tk.Layer.from_edges(both // targets, both % targets, edges.shape)

    def end(self, trainer, _results):
        """Leave a note in the run's folder."""
        for folder in trainer.folders:
            if folder is not None:
                (folder / "rewire.txt").write_text(f"{self.replaced} edges were replaced\n")

    def state_dict(self):
        """What a resumed run must know."""
        return {"replaced": self.replaced}

    def load_state_dict(self, state):
        """Go on from a checkpoint."""
        self.replaced = state["replaced"]
