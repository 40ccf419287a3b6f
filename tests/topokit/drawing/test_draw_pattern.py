"""Pictures of matrices: bins count every edge once, at the right place, the right way round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from topokit.drawing import draw
from topokit.drawing._pattern import MAX_BINS, bin_densities, bin_size, bin_sizes, panel_size
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology


def random_layer(sources, targets, edges, seed=0):
    cells = np.random.default_rng(seed).choice(sources * targets, edges, replace=False)
    dense = np.zeros(sources * targets, np.bool_)
    dense[cells] = True
    return Topology.from_dense([dense.reshape(sources, targets)]).layer(0)


@settings(deadline=None, max_examples=12)
@given(
    sources=st.sampled_from([1, 3, 400, 401, 809, 1024]),
    targets=st.sampled_from([1, 2, 399, 800, 907]),
    share=st.sampled_from([0, 0.01, 0.3, 1]),
)
def test_bins_count_every_edge_where_it_is(sources, targets, share):
    layer = random_layer(sources, targets, int(share * sources * targets))
    rows, columns = bin_sizes(layer)
    expected = np.zeros((-(-sources // rows), -(-targets // columns)), int)
    possible = np.zeros_like(expected)
    for source, cells in enumerate(layer.to_dense()):
        for target in range(0, targets, columns):
            expected[source // rows, target // columns] += cells[target : target + columns].sum()
            possible[source // rows, target // columns] += len(cells[target : target + columns])
    np.testing.assert_allclose(bin_densities(layer), expected / possible)


@settings(deadline=None)
@given(width=st.integers(1, 2**32 - 1))
def test_bins_are_few_and_small(width):
    size = bin_size(width)
    assert -(-width // size) <= MAX_BINS
    assert size == 1 if width <= MAX_BINS else size < 2 * width / MAX_BINS + 1


def test_bins_fit_the_width_where_they_can():
    assert [bin_size(width) for width in (784, 1024, 65536, 809)] == [2, 4, 256, 3]


@pytest.mark.parametrize("shape", [(2, 5), (7, 3), (1, 4), (1, 1), (40, 12)])
def test_sources_run_downwards_and_targets_to_the_right(shape, darkness):
    dense = np.random.default_rng(1).random(shape) < 0.4
    dense[0, -1] = True
    [axes] = draw(Topology.from_dense([dense]), style="pattern").axes
    np.testing.assert_array_equal(darkness(axes, shape) > 465, dense)


def test_a_binned_edge_is_seen_at_its_place(pixels_inside):
    dense = np.zeros((1600, 1200), np.bool_)
    dense[1300, 100] = True
    axes = draw(Topology.from_dense([dense]), style="pattern").axes[0]
    marked = np.argwhere(pixels_inside(axes) != 255) + 3
    expected = axes.transData.transform((100, 1300)) - axes.bbox.min
    np.testing.assert_allclose(np.mean(marked, axis=0), expected[::-1], atol=2)
    assert axes.images[0].get_clim() == (0, 1 / 12)  # bins of 4 by 3


def test_one_colour_scale_for_all_binned_layers_whatever_their_last_bins_hold():
    one = np.zeros((809, 4), np.bool_)  # bins of 3 by 1; the last one has 2 sources
    one[0, 0] = one[807:, 1] = True
    two = np.zeros((4, 1000), np.bool_)  # bins of 1 by 4
    two[1, :3] = True
    figure = draw(Topology.from_dense([one, np.ones((4, 4)), two]), style="pattern")
    scales = [axes.images[0].get_clim() for axes in figure.axes[:3]]
    assert scales == [(0, 0.75), (0, 1), (0, 0.75)]
    bar = figure.axes[3]
    FigureCanvasAgg(figure).draw()
    assert bar.get_ylabel() == "density of a bin; white: no edge"
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0 %", "15 %", "30 %", "45 %", "60 %", "75 %"]


def test_cells_of_small_layers_are_crisp(pixels_inside):
    [axes] = draw(Topology.from_dense([np.random.default_rng(0).random((50, 37)) < 0.5]), style="pattern").axes
    assert len(np.unique(pixels_inside(axes))) == 2


def test_smoothing_leaves_columns_apart(pixels_inside):
    dense = np.zeros((400, 2), np.bool_)
    dense[::2, 0] = dense[1::2, 1] = True
    [axes] = draw(Topology.from_dense([dense]), style="pattern").axes
    assert np.count_nonzero(np.diff(pixels_inside(axes)[100])) <= 3  # one step from colour to colour, in the middle


def test_axes_say_what_they_count():
    figure = draw(Topology.from_dense([np.ones((784, 3)), np.eye(3)]), style="pattern")
    first, second = figure.axes[:2]
    assert (first.get_ylabel(), first.get_xlabel()) == ("784 sources, in bins of 2", "3 targets")
    assert (first.get_title(), second.get_title()) == ("layer 0: 2,352 edges, 100 %", "layer 1: 3 edges, 33.3 %")
    assert [label.get_text() for label in first.get_yticklabels()] == ["0", "783"]


def test_many_layers_are_drawn_in_part():
    figure = draw(RadixNet(radices=[(2, 2)] * 7), style="pattern")
    assert len(figure.axes) == 12
    assert figure.texts[-1].get_text() == "The first 12 of 14 edge layers are shown."
    assert len(draw(RadixNet(radices=[(2, 2)] * 6), style="pattern").texts) == 2


def test_a_million_edges_are_drawn_from_the_streamed_network():
    net = RadixNet(radices=[(32, 32), (32, 32)], kron=(4, 2, 4, 2, 4))
    figure = draw(net, beside=net)
    assert len(figure.axes) == 2 * (4 + 1)


@pytest.mark.parametrize(
    ("shape", "high"),
    [((1, 16), 0.6), ((2, 16), 1.2), ((1, 3), 2.5 * 2**0.5 / 3), ((8, 16), 2.5 / 2**0.5), ((5, 5), 2.5)],
)
def test_a_side_of_one_or_two_nodes_is_short(shape, high):
    wide = 2.5 * min(2, shape[1] / shape[0]) ** 0.5
    assert panel_size(shape) == pytest.approx((wide, high))
    assert panel_size(shape[::-1]) == pytest.approx((high, wide))
