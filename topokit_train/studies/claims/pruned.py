"""The claim on masks that pruning leaves: whether they are good to be trained again from fresh weights."""

from __future__ import annotations

from topokit_train.studies.findings import Claim, Effect, Finding, effect_of
from topokit_train.studies.samples import Samples, samples
from topokit_train.studies.statistics import Difference, largest, paired, smallest
from topokit_train.studies.tables import Tables


def _suit(tables: Tables) -> list[Finding]:
    random = {found.case: found for found in samples(tables, "same-size")}
    findings = []
    for found in samples(tables, "retrained"):
        effects, holds, fails = list[Effect](), list[float | None](), list[float | None]()
        for x in (x for x in found.places("iterative") if x != 1):
            rivals = _rivals(found, random.get(found.case), x)
            if not rivals:
                continue
            effects += [
                effect_of(f"sparsity {1 - x:g}", f"mask − {name}", pair, "not_below", "below")
                for name, pair in rivals.items()
            ]
            holds.append(smallest([pair.not_below for pair in rivals.values()]))
            fails.append(largest([pair.below for pair in rivals.values()]) if len(rivals) == 2 else None)
        if effects:
            findings.append(
                Finding(
                    where=str(found.case),
                    effects=tuple(effects),
                    headline=min(effects, key=lambda effect: effect.value),
                    p_holds=largest(holds),
                    p_fails=smallest(fails),
                )
            )
    return findings


def _rivals(found: Samples, random: Samples | None, x: float) -> dict[str, Difference]:
    """What a mask is measured by: the dense network, and a random one of its density where one was run."""
    mask = found.seeds("iterative", x)
    dense = found.dense() or (random.dense() if random else {})
    pairs = {
        "dense": paired(mask, dense),
        "random": paired(mask, random.seeds("random", x)) if random else None,
    }
    return {name: pair for name, pair in pairs.items() if pair}


SUIT = Claim(
    sentence="Masks of iterative pruning suit their network: trained anew, they do as well as dense or as random ones.",
    test="Paired differences to the dense network and to a random one of the same density. Holds: at every sparsity "
    "the mask is not below one of them by the margin or more (one-sided t-tests; Holm over the two). Fails: at some "
    "sparsity it is below both. Shown: the smallest difference. A mask thins all layers; a random network has its "
    "density in the layers that are sparse, so it has more edges than the mask.",
    find=_suit,
    needs="no seed of networks trained on masks of iterative pruning and of dense or random ones in the same case",
)
