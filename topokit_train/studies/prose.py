"""The paragraphs of a report: what was run, and how it was judged."""

from __future__ import annotations

from topokit_train.studies import paper
from topokit_train.studies.samples import case_of
from topokit_train.studies.statistics import MARGIN
from topokit_train.studies.tables import Tables

FIGURES = (
    "Marks are means over seeds. Bars and shades are 95 % intervals, cut where they leave the axes; a mark without a "
    "bar is of one seed, or its interval is smaller than the mark. Where accuracies do not go from 0 to 100, their "
    "axis is logarithmic in the error, so that 99 stands as far above 98 as 98 above 96. Marks of different arms stand "
    "a little beside one another."
)


def introduction(tables: Tables) -> tuple[str, ...]:
    """What was run, and what for."""
    finished = {run.run: run for run in tables.finished}.values()
    what_for = (
        "This report repeats, with several seeds, the experiments of “Training Behavior of Sparse Neural Network "
        f"Topologies” ({paper.SOURCE}), whose results are single runs, and asks of each of its claims whether it "
        "stands. All that it says is computed from the tables of the runs. Hollow diamonds in the figures are "
        "the paper's points."
    )
    if not finished:
        return (what_for, "No run has finished: there is nothing to report yet.")
    networks = sorted({case_of(run).network for run in finished})
    seeds = len({run.seed for run in finished})
    told = f"{len(finished):,} runs have finished, of {_listed(networks)}, with {seeds} seed{_plural(seeds)}."
    held_out = sorted({run.validation for run in finished if run.validation})
    if held_out:
        told += f" {_listed([f'{images:,}' for images in held_out])} training images were held out for validation."
    return (what_for, told)


def methods(tables: Tables) -> tuple[str, ...]:
    """How the runs of a study were judged."""
    held_out = any(run.validation for run in tables.finished)
    chosen = "What was chosen by its accuracy was chosen on held-out training images. " if held_out else ""
    return (
        f"Accuracies are of the test set, after the last epoch. {chosen}Means are over seeds, and ± is half the "
        "width of Student's 95 % interval; a single seed has none.",
        "Arms are compared seed by seed within a case: a model, a dataset, a recipe and a number of epochs. The runs "
        "of a pair have the same seed, and see the images in the same order. The tests are t-tests of these paired "
        "differences, which are given in percentage points (pp). Two arms are the same where their difference is "
        f"within {100 * MARGIN:g} pp, shown by two one-sided tests; they differ where it is shown to be more. In "
        "between nothing is decided, which more seeds can change.",
        "A finding is what became of a claim in one case: p (holds) is the p-value of what the claim says, p (fails) "
        "that of its contrary. Where a finding rests on several densities, their p-values are first corrected by "
        "Holm's method, or all of them must be small, as the claim says. Then those of all cases of a claim are "
        "corrected together by Holm's method, once for “holds” and once for “fails”: the chance of any false “holds” "
        "among a claim's cases is at most 5 %, and so is that of any false “fails”, as long as runs of different "
        "seeds are independent. Each claim is a question of its own: over all of them the chances add up. Runs on the "
        "mask of one pruning run are independent for this mask, and say nothing of others. The p-values shown are the "
        "corrected ones; “alone” is the verdict that a finding would have had without that.",
    )


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
