"""Verdicts on runs whose truth is known."""

import pandas as pd
import pytest

from topokit.errors import FileFormatError
from topokit_train.studies.claims import CLAIMS, plateau
from topokit_train.studies.contents import findings
from topokit_train.studies.findings import judge
from topokit_train.studies.tables import read_tables
from topokit_train.studies.words import TEXTS

BASE = (0.970, 0.972, 0.969, 0.974, 0.971)
NOISE = (0.0004, -0.0003, 0.0001, -0.0005, 0.0002)


def arm(shift=0.0, noise=NOISE, base=BASE):
    return [round(value + shift + off, 6) for value, off in zip(base, noise, strict=True)]


@pytest.fixture
def verdict(study, tmp_path):
    """A function that judges one claim alone, on the study's runs: its only finding, and its effects in `effects`."""

    def of(name):
        claims, effects = judge({name: findings(name, read_tables(study.write(tmp_path / "tables")))})
        (judged,) = claims.assign(effects=[effects] * len(claims)).itertuples()
        return judged

    return of


@pytest.mark.parametrize("experiment", ["same-size", "same-edges"])
@pytest.mark.parametrize(
    ("shift", "noise", "expected"),
    [
        (0.0, NOISE, "holds"),
        (0.002, NOISE, "holds"),
        (0.02, NOISE, "fails"),
        (-0.02, NOISE, "fails"),
        (0.005, NOISE, "undecided"),
        (0.0, (0.03, -0.02, 0.01, -0.03, 0.01), "undecided"),
    ],
)
def test_whether_radix_nets_and_random_ones_are_the_same(study, verdict, experiment, shift, noise, expected):
    places = (0.5, 0.1) if experiment == "same-size" else (2, 10)
    study.arms(experiment, {("radix", x): arm(shift, noise) for x in places})
    study.arms(experiment, {("random", x): BASE for x in places})
    judged = verdict("same")
    assert judged.verdict == expected
    assert (judged.seeds, judged.at) == (5, "mean of 2")
    assert judged.effect == pytest.approx(shift + sum(noise) / 5)
    assert [*judged.effects["at"]] == (["density 0.5", "density 0.1"] if experiment == "same-size" else ["×10", "×2"])


def test_a_bigger_network_is_compared_with_the_one_that_it_enlarges(study, verdict):
    for seed in range(3):
        study.add(0.9 + seed / 1000, seed, experiment="same-edges", arm="dense", times=1)
        enlarged = {"model": "mlp", "network": "lenet-300-100"}
        study.add(0.95 + seed / 900, seed, experiment="same-edges", arm="random", times=10, **enlarged)
    assert verdict("larger-beats-dense").verdict == "holds"


def test_equal_runs_show_nothing(study, verdict):
    study.arms("same-size", {("radix", 0.1): [0.1] * 5, ("random", 0.1): [0.1] * 5})  # nothing is learned by either
    assert verdict("same").verdict == "undecided"


def test_one_density_that_differs_is_enough_to_fail(study, verdict):
    study.arms("same-size", {("radix", x): arm() for x in (0.5, 0.25, 0.1)} | {("radix", 0.05): arm(0.1)})
    study.arms("same-size", {("random", x): BASE for x in (0.5, 0.25, 0.1, 0.05)})
    judged = verdict("same")
    assert judged.verdict == "fails"
    assert [*judged.effects.verdict] == ["holds"] * 3 + ["fails"]


def test_a_split_radix_net_counts_where_topology_may_matter_only(study, verdict):
    study.arms("same-size", {("radix", 0.1): arm(), ("radix-split", 0.01): arm(0.1)})
    study.arms("same-size", {("random", x): BASE for x in (0.1, 0.01)})
    same = verdict("same")
    assert (same.verdict, len(same.effects)) == ("holds", 1)
    matters = verdict("topology-matters")
    assert (matters.verdict, matters.at) == ("holds", "density 0.01")
    assert matters.effects.compared.iloc[-1] == "split RadiX-Net − random"


@pytest.mark.parametrize(("shift", "expected"), [(0.02, "fails"), (0.005, "undecided")])
def test_opposite_differences_do_not_cancel(study, verdict, shift, expected):
    study.arms("same-size", {("radix", 0.5): arm(shift), ("radix", 0.1): arm(-shift)})
    study.arms("same-size", {("random", 0.5): BASE, ("random", 0.1): BASE})
    assert verdict("same").verdict == expected


def test_topology_does_not_matter_where_all_are_within_the_margin(study, verdict):
    arms = {("radix", 0.1): BASE, ("random", 0.1): arm(), ("regular", 0.1): arm(0.001), ("dense", 1): arm(0.1)}
    study.arms("same-size", arms)
    judged = verdict("topology-matters")
    assert judged.verdict == "fails"
    assert [*judged.effects.compared] == ["RadiX-Net − random", "RadiX-Net − regular"]
    assert judged.compared == "RadiX-Net − regular"  # the largest one, whatever its sign


def test_one_seed_decides_nothing(study, verdict):
    study.arms("same-size", {("radix", 0.1): [0.97], ("random", 0.1): [0.5]})
    judged = verdict("same")
    assert (judged.verdict, str(judged.p_holds_holm), str(judged.p_fails_holm)) == ("undecided", "nan", "nan")
    assert (judged.seeds, str(judged.half_width)) == (1, "nan")


def test_seeds_without_a_partner_are_left_out(study, verdict):
    study.arms("same-size", {("radix", 0.1): arm(), ("random", 0.1): BASE[:4]})
    assert verdict("same").seeds == 4


def test_two_runs_of_one_place_are_refused(study, verdict):
    study.arms("same-size", {("radix", 0.1): [0.97], ("random", 0.1): [0.97]})
    study.add(0.5, 0, experiment="same-size", arm="radix", density=0.1)
    with pytest.raises(FileFormatError, match=r"runs r00000 and r00002 are both same-size, radix 0\.1, seed 0"):
        verdict("same")


@pytest.mark.parametrize("name", CLAIMS)
def test_nothing_is_claimed_without_runs(verdict, name):
    judged = verdict(name)
    assert judged.verdict is judged.verdict_alone == "not run"
    assert judged.missing == TEXTS["claims"][name]["needs"]


@pytest.mark.parametrize(
    ("best", "expected"), [(-0.02, "holds"), (0.0, "fails"), (-0.002, "fails"), (-0.005, "undecided")]
)
def test_whether_a_radix_net_is_worse_than_dense(study, verdict, best, expected):
    study.arms("same-size", {("dense", 1): BASE, ("radix", 0.5): arm(best), ("radix", 0.1): arm(-0.1)})
    judged = verdict("below-dense")
    assert (judged.verdict, judged.at) == (expected, "density 0.5")


@pytest.mark.parametrize(("best", "expected"), [(0.004, "holds"), (-0.004, "fails"), (0.0, "undecided")])
def test_whether_larger_beats_dense(study, verdict, best, expected):
    study.arms("same-edges", {("dense", 1): BASE, ("random", 2): arm(best), ("radix", 10): arm(-0.1)})
    judged = verdict("larger-beats-dense")
    assert (judged.verdict, judged.compared) == (expected, "random − dense")


@pytest.mark.parametrize(
    ("to_dense", "to_random", "expected"),
    [(0, 0.1, "holds"), (-0.1, 0, "holds"), (0, -0.1, "holds"), (-0.1, -0.02, "fails"), (-0.1, None, "undecided")],
)
def test_whether_masks_suit(study, verdict, to_dense, to_random, expected):
    study.arms("retrained", {("iterative", 0.05): BASE, ("dense", 1): arm(-to_dense)})
    if to_random is not None:
        study.arms("same-size", {("random", 0.05): arm(-to_random)})
    assert verdict("pruned-masks-suit").verdict == expected


def test_spread_over_seeds(study, verdict):
    dense, wild = [0.97 + 0.0001 * k for k in range(10)], [0.5 + 0.04 * k for k in range(10)]
    study.arms("retrained", {("dense", 1): dense, ("iterative", 0.01): wild, ("one-time", 0.5): wild})
    judged = verdict("extreme-is-unstable")
    assert judged.verdict == "holds"
    assert [*judged.effects["at"]] == ["iterative, 0.99"]


def test_one_mask_with_a_smaller_spread_does_not_make_training_stable(study, verdict):
    dense, wild, calm = ([0.97 + scale * k for k in range(10)] for scale in (0.001, -0.05, 0.00001))
    arms = {("dense", 1): dense, ("iterative", 0.05): wild, ("iterative", 0.01): calm}
    study.arms("retrained", arms)
    assert verdict("extreme-is-unstable").verdict == "holds"


def test_a_mask_on_which_nothing_is_learned_has_no_spread(study, verdict):
    study.arms("retrained", {("dense", 1): [0.97 + 0.001 * k for k in range(10)]})
    study.arms("retrained", {("iterative", 0.01): [0.1028] * 10}, dead_classes=9)
    assert verdict("extreme-is-unstable").verdict == "not run"


@pytest.mark.parametrize(
    ("paper", "modern", "expected"), [(6, 0, "holds"), (0, 6, "fails"), (2, 1, "undecided"), (0, 0, "undecided")]
)
def test_whether_the_recipe_kills_classes(study, verdict, paper, modern, expected):
    for recipe, dead in (("paper", paper), ("modern", modern)):
        for seed in range(6):
            about = {"experiment": "retrained", "arm": "iterative", "recipe": recipe, "model": "lenet-5"}
            study.add(0.8, seed, density=0.05, dead_classes=int(seed < dead), **about)
            study.add(0.8, seed, density=0.5, dead_classes=3, **about)  # not extremely sparse
    judged = verdict("recipe-kills-classes")
    assert judged.verdict == expected
    assert judged.effect == pytest.approx((paper - modern) / 6)


@pytest.mark.parametrize("masks", [1, 8])
def test_a_seed_has_one_vote_however_many_masks_it_is_trained_on(study, verdict, masks):
    for seed in range(4):
        for mask in range(masks):
            about = {"experiment": "retrained", "arm": "iterative", "model": "lenet-5", "density": 0.05 - mask / 1000}
            study.add(0.79, seed, dead_classes=2, recipe="paper", **about)
            study.add(0.985, seed, dead_classes=0, recipe="modern", **about)
    for name in ("recipe-kills-classes", "plateaus-are-dead-classes"):
        judged = verdict(name)
        assert (judged.p_holds_holm, judged.verdict) == (pytest.approx(1 / 16), "undecided")


@pytest.mark.parametrize("differs", [{"epochs": 25}, {"density": 0.01}, {"arm": "one-time"}, {"pruned_from": "other"}])
def test_recipes_are_compared_on_the_same_masks_for_as_many_epochs(study, verdict, differs):
    about = {"experiment": "retrained", "arm": "iterative", "model": "lenet-5", "density": 0.05}
    for seed in range(6):
        study.add(0.8, seed, dead_classes=3, recipe="paper", **about)
        study.add(0.8, seed, dead_classes=0, recipe="modern", **(about | differs))
    judged = verdict("recipe-kills-classes")
    assert judged.verdict == "not run"
    if "epochs" not in differs:
        assert judged.missing == "both recipes, but on no mask in common"


@pytest.mark.parametrize(("off", "expected"), [(0, "holds"), (1, "fails")])
def test_whether_plateaus_are_dead_classes(study, verdict, off, expected):
    for seed in range(8):
        about = {"experiment": "retrained", "arm": "iterative", "model": "lenet-5"}
        study.add(0.79, seed, density=0.05, dead_classes=2 - off, **about)
        study.add(0.985, seed, density=0.5, dead_classes=0, **about)
    judged = verdict("plateaus-are-dead-classes")
    assert judged.verdict == expected
    assert judged.effect == 1 - off


def test_the_papers_plateaus():
    accuracies = pd.Series((0.98, 0.93, 0.88, 0.79, 0.70, 0.65, 0.60, 0.50, 0.1135))
    assert [*plateau(accuracies)] == [0, 0, 1, 2, 3, 0, 4, 5, 9]


def test_more_findings_need_smaller_p_values(study, tmp_path):
    for epochs in range(1, 31):
        study.arms("same-size", {("radix", 0.1): arm(0.0042), ("random", 0.1): BASE}, epochs=epochs)
    tables = read_tables(study.write(tmp_path))
    found, _ = judge({"same": findings("same", tables)})
    assert (len(found), {*found.verdict_alone}, {*found.verdict}) == (30, {"holds"}, {"undecided"})
    assert found.p_holds_holm[0] == pytest.approx(min(1, 30 * found.p_holds[0]))
    # but not those of other claims
    found_of_all, _ = judge({name: findings(name, tables) for name in CLAIMS})
    assert found_of_all[found_of_all.claim == "same"].p_holds_holm.tolist() == found.p_holds_holm.tolist()
