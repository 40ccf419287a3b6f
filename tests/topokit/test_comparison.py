"""Comparison with random twins: the numbers by hand, and how often chance is taken for structure."""

from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

import topokit as tk
from topokit.comparison import Score, compare, compared, measured
from topokit.errors import InvalidSpecError
from topokit.families import RANDOM_EQUIVALENTS
from topokit.measures import MEASURES
from topokit.profiles import profile

RADIX = tk.RadixNet(radices=[(3, 4)], kron=(2, 3, 1))
PRUNED = tk.Topology.from_dense([np.diag([1, 1, 1, 0]), np.eye(4)[:, [0, 0, 2, 3]]])


def test_a_radix_net_has_structure_that_its_twins_lack():
    found = compare(RADIX)
    comparisons = found.comparisons
    assert (found.kind, [*found.seeds], found.skipped) == ("regular", [*range(20)], {})
    assert comparisons["variation of paths"].verdict == "structure"
    assert comparisons["variation of paths"].value == 0
    assert comparisons["end-to-end sigma_2/sigma_1"].verdict == "structure"
    equal = comparisons["density"]
    assert (equal.mean, equal.sd, equal.z, equal.p, equal.verdict) == (equal.value, 0, None, None, None)


def test_a_random_network_is_chance():
    found = compare(tk.Regular.equivalent_to(RADIX, 1000))
    assert {one.verdict for one in found.comparisons.values()} == {"chance", None}


def test_the_twins_are_those_that_anybody_can_make_again():
    found = compare(RADIX, twins=3, kind="bernoulli", seed=7)
    twins = [measured(tk.Bernoulli.equivalent_to(RADIX, seed)).scalars() for seed in (7, 8, 9)]
    for label, one in found.comparisons.items():
        if one.mean is not None:
            assert one.mean == pytest.approx(mean(twin[label] for twin in twins)), label
            assert one.sd == pytest.approx(stdev(twin[label] for twin in twins), abs=1e-8), label


@pytest.mark.parametrize("kind", RANDOM_EQUIVALENTS)
def test_a_pruned_network_with_empty_rows(kind):
    found = compare(PRUNED, kind=kind, twins=5)
    assert found.comparisons["dead units"].value == 5
    assert found.comparisons["effective density"].value == pytest.approx(5 / 32)


def test_z_p_and_holm_by_hand():
    rows = {"a": [5, 1, 2, 3, 4, 2], "b": [2.5, 1, 2, 3, 4, 2], "c": [9, 1, 2, 3, 4, 2], "equal": [1] * 6}
    found = compared(rows)
    for label in "abc":
        value, *twins = rows[label]
        one = found[label]
        assert one.z == pytest.approx((value - 2.4) / stdev(twins))
        t = (value - 2.4) / (stdev(twins) * (1 + 1 / 5) ** 0.5)
        assert one.p == pytest.approx(2 * stats.t(4).cdf(-abs(t)))
    assert [found[label].rank_p for label in "abc"] == [pytest.approx(2 / 6), pytest.approx(1), pytest.approx(2 / 6)]
    p = {label: found[label].p for label in "abc"}
    assert p["c"] < p["a"] < p["b"]
    assert found["c"].adjusted_p == pytest.approx(3 * p["c"])
    assert found["a"].adjusted_p == pytest.approx(2 * p["a"])
    assert found["b"].adjusted_p == pytest.approx(max(2 * p["a"], p["b"]))
    assert found["equal"] == Score(1, 1, 0)
    assert found["c"].verdict == ("structure" if 3 * p["c"] <= 0.05 else "chance")


def test_a_comparison_is_a_table():
    found = compare(RADIX, twins=3)
    frame = found.to_frame().set_index("measure")
    assert frame["z"].dropna().to_dict() == {
        label: one.z for label, one in found.comparisons.items() if one.z is not None
    }
    assert "<p>3 regular random equivalents, seeds 0 to 2</p>" in found._repr_html_()


def test_a_comparison_without_numbers_has_its_columns():
    frame = replace(compare(RADIX, twins=2), comparisons={}).to_frame()
    assert len(frame) == 0
    assert [*frame.columns][:3] == ["measure", "value", "mean"]


def test_several_networks_are_put_beside_each_other():
    text = "radix-net radices=3,4 kron=2,3,1"
    for found in (compare(RADIX, PRUNED, text), compare([RADIX, PRUNED, text])):
        frame = found.to_frame().set_index("measure")
        assert [*frame.columns] == [RADIX.slug, "4.4.4", text]
        assert frame.loc["edges"].tolist() == [RADIX.edges, PRUNED.edges, RADIX.edges]
        for net, label in ((RADIX, RADIX.slug), (PRUNED, "4.4.4")):
            scalars = measured(net).scalars()
            assert frame[label].dropna()["density":].to_dict() == {k: v for k, v in scalars.items() if v is not None}
    assert [*compare(RADIX, RADIX).profiles] == [f"{RADIX.slug} (1)", f"{RADIX.slug} (2)"]
    assert compare([RADIX], twins=2).title.startswith("2 regular")


def test_adjusted_p_values_rise_and_end_at_1():
    found = compared({label: [0.1 * place, -1, 1, 0.5] for place, label in enumerate("abcd")})
    assert {one.adjusted_p for one in found.values()} == {1}


def test_equal_twins_leave_no_z_and_little_proof():
    few = compared({"a": [3, 1, 1, 1]})["a"]
    assert (few.z, few.sd, few.rank_p, few.p, few.verdict) == (None, 0, 0.5, 0.5, "undecided")
    many = compared({"a": [3, *[1] * 39]})["a"]
    assert (many.z, many.adjusted_p, many.verdict) == (None, 0.05, "structure")


def test_differences_of_rounding_are_none():
    noisy = compared({"a": [1 / 3, 1 / 3 + 1e-15, 1 / 3 - 1e-15]})["a"]
    assert (noisy.sd, noisy.z, noisy.verdict) == (0, None, None)


def test_undefined_numbers_are_not_compared():
    assert compared({"a": [None, 1, 2], "b": [1, None, 2]}) == {"a": Score(None), "b": Score(1)}


def test_chance_is_seldom_taken_for_structure():
    """Eight measures of 1,000 networks that are no different from their 20 twins: at most 5 % are called structure."""
    random = np.random.default_rng(1)
    called = 0
    for _ in range(1000):
        found = compared({label: row.tolist() for label, row in enumerate(random.normal(size=(8, 21)))})
        called += any(one.verdict == "structure" for one in found.values())
    assert 20 <= called <= 65


def test_a_measure_that_a_twin_cannot_be_given_is_left_out_for_all(monkeypatch):
    """The RadiX-Net's paths fold into one class, those of its twin do not."""
    slow = replace(MEASURES["path-statistics"], step=1e-4)
    monkeypatch.setattr("topokit.measures.path_statistics.MEASURE", slow)
    net = tk.RadixNet(radices=[(8, 8)] * 3)
    found = compare(net, twins=3, seconds=2)
    assert "variation of paths" in measured(net).scalars()
    assert "variation of paths" not in found.comparisons
    assert "use a probe or a sample" in found.skipped["path-statistics"]
    assert "disconnected pairs" in found.comparisons


def test_a_measure_that_one_twin_lacks_is_not_taken_again(monkeypatch):
    asked = []

    def second_twin_lacks_reach(net, names, **options):
        asked.append({*names})
        found = profile(net, names, **options)
        kept = {name: values for name, values in found.measures.items() if name != "reach" or len(asked) != 3}
        return replace(found, measures=kept, skipped={"reach": "no memory"} if len(asked) == 3 else {})

    monkeypatch.setattr("topokit.comparison.profile", second_twin_lacks_reach)
    found = compare(RADIX, twins=4)
    assert ["reach" in names for names in asked] == [True, True, True, False, False]
    assert found.skipped == {"reach": "no memory"}
    assert {*found.comparisons} == {*measured(RADIX).scalars()} - {"disconnected pairs"}


def test_progress_is_told():
    ticks = []
    compare(RADIX, twins=4, each=lambda: ticks.append(1))
    assert len(ticks) == 4


@pytest.mark.parametrize(
    ("nets", "options", "said"),
    [
        ([RADIX, RADIX], {"twins": 2}, "are for one topology"),
        ([RADIX, RADIX], {"kind": "bernoulli"}, "are for one topology"),
        ([RADIX, RADIX], {"seed": 1}, "are for one topology"),
        ([], {}, "needs a topology"),
    ],
)
def test_bad_options_are_refused(nets, options, said):
    with pytest.raises(InvalidSpecError, match=said):
        compare(nets, **options)


def test_a_note_says_why_nothing_is_compared():
    one_layer = tk.Topology.from_dense([np.eye(64, 2)])  # layers of its degrees differ in the order of nodes only
    found = compare(one_layer, twins=3)
    assert {one.verdict for one in found.comparisons.values()} == {None}
    assert str(found).endswith(f"\n{found.note}")
    assert "nothing to compare: each measure is undefined, or the random networks have the same value" in found.note
    radix = compare(RADIX, twins=3)
    assert radix.note == ""
    assert not str(radix).endswith("\n")
