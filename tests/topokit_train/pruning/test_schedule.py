"""Schedules against the formula, in exact numbers."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topokit.errors import InvalidSpecError
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.schedule import Schedule, Stage, schedule_of

TARGETS = (Fraction("0.5"), Fraction("0.75"), Fraction("0.9"), Fraction("0.95"), Fraction("0.99"))


@given(
    begin=st.integers(0, 50),
    length=st.integers(1, 60),
    every=st.integers(1, 70),
    step=st.integers(0, 130),
    targets=st.lists(st.fractions(Fraction(1, 100), Fraction(99, 100)), min_size=1, max_size=4, unique=True),
)
def test_gradual_follows_the_formula_and_reaches_each_target_once(begin, length, every, step, targets):
    plan = Schedule(begin, begin + length, every, tuple(sorted(targets)))
    done = min(max(step - begin, 0), length)
    assert plan.sparsity(step) == max(targets) * (1 - Fraction(length - done, length) ** 3)
    stages = [(step, stage) for step in range(131) for stage in plan.due(step)]
    assert [stage.sparsity for _, stage in stages if stage.wanted] == sorted(targets)
    assert all(one.sparsity < two.sparsity for (_, one), (_, two) in pairwise(stages))
    on_grid = list(range(begin + every, begin + length, every))
    assert sorted({step for step, _ in stages}) == [*on_grid, begin + length]
    for step, stage in stages:
        if stage.wanted:
            before = max((t for t in (begin, *on_grid) if t < step), default=begin)
            assert plan.sparsity(before) < stage.sparsity <= plan.sparsity(step)
        else:
            assert stage.sparsity == plan.sparsity(step)


def test_the_papers_own_interval():
    plan = Schedule(3000, 10000, 200, TARGETS)
    assert [step for step in range(15001) if plan.due(step)] == list(range(3200, 10001, 200))
    assert plan.sparsity(6500) == Fraction(99, 100) * Fraction(7, 8)
    assert plan.due(10000) == (Stage(Fraction(99, 100), wanted=True),)


def test_one_time_prunes_after_the_last_step_only():
    plan = schedule_of(PruneConfig(method="one-time", to=tuple(map(float, TARGETS))), 10)
    assert [step for step in range(12) if plan.due(step)] == [10]
    assert plan.due(10) == tuple(Stage(target, wanted=True) for target in TARGETS)
    below = schedule_of(PruneConfig(method="one-time", threshold=0.1), 10)
    assert [below.due(step) for step in (9, 10, 11)] == [(), (Stage(None, wanted=True),), ()]


def test_the_settings_are_fractions_of_the_steps():
    assert schedule_of(PruneConfig(to=(0.5, 0.99)), 15000) == Schedule(3000, 10500, 150, TARGETS[:1] + TARGETS[-1:])
    assert schedule_of(PruneConfig(begin=0, end=1, every=0.5), 10) == Schedule(0, 10, 5, (Fraction(9, 10),))
    assert schedule_of(PruneConfig(), 15).every == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"begin": 0.4, "end": 0.42}, "begin 0.4 and end 0.42 are the same step of 15"),
        ({"every": 0.01}, "every 0.01 is more often than once a step, of which there are 15: give a larger one"),
    ],
)
def test_too_few_steps_are_refused(settings, message):
    with pytest.raises(InvalidSpecError, match=message):
        schedule_of(PruneConfig(**settings), 15)
