"""Verdicts, their wording, and what a report makes of them."""

import json
import sys
from fractions import Fraction
from unittest.mock import Mock

import numpy as np
import pytest

from topokit.checks import CHECKS, CheckResult, Report, Verdict, run_checks
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Promises
from topokit.reprs import decimal, in_words
from topokit.topologies import Topology

HOLDS, FAILS, UNDECIDED, NOT_PROMISED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED, Verdict.NOT_PROMISED
KEYS = {"check", "verdict", "reason", "values", "witness", "method", "error_bound", "required", "seconds"}


def result(check, verdict, **more):
    return CheckResult(check=check, verdict=verdict, reason=f"because of {check}", **more)


def report(verdicts, required):
    results = tuple(result(name, verdict) for name, verdict in verdicts.items())
    return Report(results=results, required=frozenset(required), seconds=dict.fromkeys(verdicts, 0.25))


@pytest.mark.parametrize(
    ("verdicts", "required", "expected"),
    [
        ({"a": HOLDS, "b": HOLDS}, "ab", HOLDS),
        ({"a": FAILS, "b": HOLDS}, "b", HOLDS),
        ({"a": HOLDS, "b": UNDECIDED}, "ab", UNDECIDED),
        ({"a": UNDECIDED, "b": FAILS}, "ab", FAILS),
        ({"a": FAILS, "b": UNDECIDED}, "ab", FAILS),
        ({"a": FAILS, "b": UNDECIDED}, "b", UNDECIDED),
        ({"a": HOLDS, "b": NOT_PROMISED}, "ab", NOT_PROMISED),
        ({"a": UNDECIDED, "b": NOT_PROMISED}, "ab", UNDECIDED),
        ({"a": FAILS, "b": UNDECIDED}, "", NOT_PROMISED),
        ({"a": HOLDS}, "", NOT_PROMISED),
    ],
)
def test_a_report_fails_before_it_is_undecided_and_counts_required_checks_only(verdicts, required, expected):
    assert report(verdicts, required).verdict is expected


def test_results_and_reports_have_no_truth_value():
    for value in (result("a", HOLDS), report({"a": HOLDS}, "a")):
        with pytest.raises(TypeError, match="neither true nor false"):
            bool(value)


def test_a_report_prints_an_aligned_table_with_each_witness_below_its_check():
    results = (
        result("short", HOLDS),
        result("a-longer-name", FAILS, witness={"input": 1}),
        result("x", UNDECIDED, witness={}),
    )
    seconds = {"short": 0.5, "a-longer-name": 12.25, "x": 0.001}
    lines = str(Report(results=results, required=frozenset({"x"}), seconds=seconds)).splitlines()
    assert lines == [
        "verdict: undecided (required: x)",
        "check          verdict    required  method  seconds  reason",
        "short          holds      no        exact     0.500  because of short",
        "a-longer-name  fails      no        exact    12.250  because of a-longer-name",
        '                                                     witness: {"input": 1}',
        "x              undecided  yes       exact     0.001  because of x",
        "                                                     witness: {}",
    ]


def test_a_report_is_escaped_html_in_a_notebook():
    bad = CheckResult(check="a", verdict=FAILS, reason="<script> & co")
    html = Report(results=(bad,), required=frozenset("a"), seconds={"a": 0.0})._repr_html_()
    assert "<p>verdict: fails (required: a)</p>" in html
    assert "<td>&lt;script&gt; &amp; co</td>" in html
    assert (html.count("<th>"), html.count("<td>"), html.count("<tr>")) == (6, 6, 2)


def test_a_reports_json_is_what_the_command_line_promises():
    found = run_checks(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)))
    value = json.loads(json.dumps(found.to_json()))
    assert value["verdict"] == "holds"
    checks = {check["check"]: check for check in value["checks"]}
    assert list(checks) == list(CHECKS)
    assert all(set(check) == KEYS for check in checks.values())
    assert all(check["verdict"] == "holds" and check["required"] for check in checks.values())
    assert checks["path-symmetry"]["values"] == {"paths": "100"}
    assert checks["density"]["values"]["density"] == "1/4"


def test_every_check_runs_and_the_promised_ones_are_required():
    net = RadixNet(radices=[(2, 2)])
    found = run_checks(net)
    assert [one.check for one in found.results] == list(CHECKS)
    assert found.required == set(CHECKS) == net.promises.names
    plain = Topology.from_dense([np.eye(2)])
    found = run_checks(plain)
    assert found.required == {"soundness"}
    assert found.verdict is HOLDS
    assert found["connectivity"].verdict is FAILS


def test_named_checks_are_required_unless_others_are():
    plain = Topology.from_dense([np.eye(2)])
    found = run_checks(plain, ["density", "connectivity"])
    assert [one.check for one in found.results] == ["connectivity", "density"]
    assert found.required == {"density", "connectivity"}
    assert found.verdict is FAILS
    found = run_checks(plain, ["connectivity"], require=["density"])
    assert [one.check for one in found.results] == ["connectivity", "density"]
    assert found.verdict is NOT_PROMISED
    for nothing in (run_checks(plain, []), run_checks(plain, require=[]), run_checks(plain, ["soundness"], require=[])):
        assert nothing.verdict is NOT_PROMISED
        assert str(nothing).startswith("verdict: not promised (required: nothing)")
    found = run_checks(plain, require=["soundness", "density"])
    assert len(found.results) == len(CHECKS)
    assert found.verdict is NOT_PROMISED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": ["densty"]}, "did you mean density"),
        ({"require": ["nothing"]}, "no check named 'nothing'"),
        ({"method": "guess"}, "must be one of auto, exact, probe"),
    ],
)
def test_unknown_names_are_refused(options, said):
    with pytest.raises(InvalidSpecError, match=said):
        run_checks(RadixNet(radices=[(2, 2)]), **options)


def test_a_check_that_is_too_large_is_undecided(monkeypatch):
    too_large = Mock(side_effect=TooLargeError("reachability needs 9 GiB"))
    monkeypatch.setattr("topokit.checks.connectivity.reach", too_large)
    found = run_checks(RadixNet(radices=[(2, 2)]))
    assert found["connectivity"].verdict is UNDECIDED
    assert found["connectivity"].reason == "reachability needs 9 GiB"
    assert found.verdict is UNDECIDED


def test_the_method_reaches_path_symmetry():
    net = RadixNet(radices=[(2, 2)], kron=(1, 3, 1))
    methods = {method: run_checks(net, method=method)["path-symmetry"].method for method in ("auto", "exact", "probe")}
    assert methods == {"auto": "exact", "exact": "exact", "probe": "probe"}


@pytest.fixture
def digits_limit():
    """Sets the number of digits that `str` of an integer may have, for one test."""
    limit = sys.get_int_max_str_digits()
    yield sys.set_int_max_str_digits
    sys.set_int_max_str_digits(limit)


def test_decimals_of_any_size(digits_limit):
    for number in (0, 7, 10**601, 10**601 - 1, 2**2000, 2**15000, 2**15000 + 10**4000, 3**40000):
        digits_limit(640)  # the lowest that Python allows
        digits = decimal(number)
        digits_limit(0)
        assert digits == str(number)


def test_counts_in_words():
    assert in_words(999_999) == "999,999"
    assert in_words(10**18) == "about 1.000e18"
    assert in_words(2**590) == "2^590"
    assert in_words(123456 * 10**5000) == "about 1.234e5005"


def test_density_is_compared_exactly():
    def check(promised):
        return CHECKS["density"](Topology.from_dense([np.eye(3)], promises=Promises(density=promised)))

    assert check(Fraction(1, 3)).verdict is HOLDS
    assert check(Fraction(333333333333333333, 10**18)).verdict is FAILS
    assert check(None).verdict is NOT_PROMISED
    assert check(Fraction(1, 4)).values == {"density": "1/3", "promised": "1/4"}
