"""Claims on sparse networks against dense ones: of the same size, and of the same number of edges."""

from __future__ import annotations

from topokit_train.studies.claims.topologies import place_name, radix_name, sparse_places
from topokit_train.studies.findings import Claim, Effect, Finding, effect_of, of_greatest
from topokit_train.studies.samples import Samples, samples
from topokit_train.studies.statistics import largest, paired, smallest
from topokit_train.studies.tables import Tables


def _against_dense(found: Samples, arm: str, holds: str, fails: str) -> list[Effect]:
    pairs = ((x, paired(found.seeds(arm, x), found.dense())) for x in sparse_places(found))
    names = {"random": "random", "regular": "regular"}
    return [
        effect_of(
            place_name(found.experiment, x), f"{names.get(arm) or radix_name(found, x)} − dense", pair, holds, fails
        )
        for x, pair in pairs
        if pair
    ]


def _below_dense(tables: Tables) -> list[Finding]:
    return [
        finding
        for found in samples(tables, "same-size")
        for finding in of_greatest(
            str(found.case), _against_dense(found, "radix", "below", "not_below"), largest, smallest
        )
    ]


def _larger(tables: Tables) -> list[Finding]:
    findings = []
    for found in samples(tables, "same-edges"):
        effects = [e for arm in ("radix", "random") for e in _against_dense(found, arm, "positive", "negative")]
        findings += of_greatest(str(found.case), effects, smallest, largest)
    return findings


BELOW_DENSE = Claim(
    sentence="A RadiX-Net is worse than the dense network of the same size at every density.",
    test="Paired differences RadiX-Net − dense. Holds: at every density it is worse by more than the margin "
    "(one-sided t-tests, all of them). Fails: at some density it is not (t-tests, Holm). Shown: the best density.",
    find=_below_dense,
    needs="no seed of RadiX-Nets and dense networks of the same size in the same case",
)
LARGER = Claim(
    sentence="A larger sparse network beats the smaller dense one with the same number of edges.",
    test="Paired differences RadiX-Net − dense and random − dense. Holds: at some size it is better at all "
    "(one-sided t-tests, Holm). Fails: at every size it is worse (all tests). Shown: the best size.",
    find=_larger,
    needs="no seed of larger sparse networks and of the dense one with as many edges in the same case",
)
