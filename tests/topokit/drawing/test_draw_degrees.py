"""Pictures of degrees: every input is the pixel it should be, and chance is the binomial distribution."""

import re
import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import binom

from topokit.drawing import STYLES, draw
from topokit.drawing._degrees import draw_degrees, expected
from topokit.drawing._pixels import image_shape
from topokit.errors import InvalidSpecError
from topokit.families.bernoulli import Bernoulli
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology


def network(degrees, targets):
    """Inputs with these out-degrees."""
    return Topology.from_dense([np.arange(targets) < np.array(degrees)[:, None]])


def test_every_input_is_a_pixel_in_reading_order_and_darker_the_more_edges_it_has(darkness):
    degrees = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 0, 9, 10]])
    axes, bar = draw(network(degrees.ravel(), 10), style="pixels", image=(3, 4)).axes
    found = darkness(axes, (3, 4))
    assert (found[degrees == 0] == 0).all()
    ranked = found.ravel()[np.argsort(degrees, axis=None)][2:]
    assert (np.diff(ranked) > 0).all()
    assert ranked[0] > 60
    assert bar.get_ylabel() == "edges of an input"
    assert bar.get_ylim() == (1, 10)


def test_channels_come_one_after_the_other():
    figure = draw(network(np.arange(12), 12), style="pixels", image=(2, 3, 2))
    panels = figure.axes[:2]
    assert [axes.get_title() for axes in panels] == ["channel 0", "channel 1"]
    shown = [np.ma.filled(axes.images[0].get_array(), 0).tolist() for axes in panels]
    assert shown == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


def test_networks_beside_each_other_share_one_scale():
    figure = draw(network([1, 2, 3, 4], 9), beside=network([9, 0, 1, 1], 9), style="pixels")
    assert [axes.images[0].get_clim() for axes in figure.axes if axes.images] == [(1, 9), (1, 9)]


def test_a_guessed_image_is_named_and_channels_of_a_convolution_are_refused():
    said = "No image is given: the 144 inputs are drawn as 12 x 12 pixels."
    inputs = network([1] * 144, 2)
    assert draw(inputs, style="pixels").texts[3].get_text() == said
    assert len(draw(inputs, style="pixels", image=(12, 12)).texts) == 3
    filters = Topology(network([1], 4).layers, by_channel=True)
    with pytest.raises(InvalidSpecError, match="are channels, not pixels: take another style"):
        draw(inputs, beside=filters, style="pixels")


def test_the_heading_counts():
    def told(net, **options):
        return draw(net, style="pixels", **options).texts[2].get_text()

    assert (
        told(network([0, 0, 3, 1], 5)) == "Edges of each input: 0 to 3, 1 on average; 2 of 4 have none and are white."
    )
    assert told(network([1, 2], 5), image=(2, 1)) == "Edges of each input: 1 to 2, 1.5 on average."
    assert told(RadixNet(radices=[(2, 2)])) == "Each input has 2 edges."
    assert told(network([1], 2)) == "Each input has 1 edge."


@pytest.mark.parametrize(
    ("inputs", "image", "shape"),
    [(784, None, (28, 28, 1)), (1, None, (1, 1, 1)), (784, (14, 56), (14, 56, 1)), (3072, [32, 32, 3], (32, 32, 3))],
)
def test_the_image_is_a_square_where_nothing_is_said(inputs, image, shape):
    assert image_shape(inputs, image) == shape


@pytest.mark.parametrize(
    ("inputs", "image", "said"),
    [
        (300, None, "300 inputs are not a square image: give image, such as 10x10x3"),
        (150, None, "150 inputs are not a square image: give image, such as 10x15"),
        (784, (20, 20), "image 20x20 has 400 pixels, but there are 784 inputs: 28x28 fits"),
        (3072, (32, 32), "image 32x32 has 1,024 pixels, but there are 3,072 inputs: 32x32x3 fits"),
        (7, (2, 3), "image 2x3 has 6 pixels, but there are 7 inputs: 1x7 fits"),
        (13, (1, 1, 13), "image has 13 channels; at most 12 can be drawn"),
        (4, (4,), "image must be ROWSxCOLUMNS or ROWSxCOLUMNSxCHANNELS, not 1 number"),
        (4, (2, 2, 1, 1), "not 4 numbers"),
        (4, (0, 4), "image must be at least 1, not 0"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, image, said):
    with pytest.raises(InvalidSpecError, match=re.escape(said)):
        image_shape(inputs, image)


@pytest.mark.parametrize("style", [style for style in STYLES if style not in ("auto", "edges")])
def test_options_of_other_styles_are_refused(style):
    net = RadixNet(radices=[(2, 2)])
    for options in ({"trace": 1}, {"rows": True}):
        with pytest.raises(InvalidSpecError, match="take the style edges"):
            draw(net, style=style, **options)
    with pytest.raises(InvalidSpecError, match="image is for the style pixels, not for edges"):
        draw(net, image=(2, 2))


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_every_network_with_its_heading_and_panels(style):
    nets = (RadixNet(radices=[(2, 2)]), Bernoulli(widths=(9, 5, 7), density=".4", seed=0))
    figure = draw(nets[0], beside=nets[1], style=style)
    assert {net.summary() for net in nets} <= {text.get_text() for text in figure.texts}
    assert len(figure.axes) >= len(nets)
    assert all(axes.has_data() for axes in figure.axes)


@pytest.mark.parametrize("style", STYLES)
def test_no_style_draws_outside_of_the_figure(style):
    one, three = Bernoulli(widths=(16, 16), density=".25", seed=0), RadixNet(radices=[(2, 2, 4)])
    for nets in ((one,), (three, one)):
        figure = draw(nets[0], beside=nets[1:], style=style)
        figure.draw_without_rendering()
        for part in (*figure.axes, *figure.texts):
            (left, low), (right, high) = part.get_tightbbox().get_points()
            assert min(left, low) > -0.5
            assert right < figure.bbox.width + 0.5
            assert high < figure.bbox.height + 0.5


def test_a_style_of_two_words_is_a_function_and_a_module_of_two_words(monkeypatch):
    module = ModuleType("topokit.drawing._two_words")
    module.draw_two_words = draw_degrees
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(STYLES, "two-words", "")
    assert len(draw(RadixNet(radices=[(2, 2)]), style="two-words").axes) == 4


def heights(patch):
    """The height of a staircase over the middle of each unit of the axis."""
    values, edges, _ = patch.get_data()
    return values[np.searchsorted(edges, np.arange(edges[-1]) + 0.5) - 1]


def test_degrees_are_ranked_beside_what_chance_would_give():
    random = np.random.default_rng(0)
    mask = random.random((40, 25)) < random.random((40, 1)) * random.random(25)
    left, right = draw(Topology.from_dense([mask]), style="degrees").axes
    assert (left.get_ylabel(), left.get_xlabel()) == ("out-degree", "40 sources")
    assert (right.get_ylabel(), right.get_xlabel()) == ("in-degree", "25 targets")
    for axes, degrees in ((left, mask.sum(axis=1)), (right, mask.sum(axis=0))):
        bars, chance = axes.patches
        assert heights(bars).tolist() == sorted(degrees.tolist(), reverse=True)
        assert heights(chance).sum() == pytest.approx(degrees.sum(), rel=0.05)


def test_what_chance_gives_are_the_degrees_that_so_many_nodes_exceed():
    law = [binom.pmf(degree, 30, 0.2) for degree in range(31)]
    for rank, degree in enumerate(expected(50, 30, 0.2)):
        above = sum(law[int(degree) + 1 :])
        assert above <= (rank + 0.5) / 50 <= above + law[int(degree)] + 1e-12
    assert expected(3, 5, 0).tolist() == [0, 0, 0]
    assert expected(3, 5, 1).tolist() == [5, 5, 5]


def test_a_bernoulli_network_lies_on_the_line_and_a_curve_has_few_points():
    left, _ = draw(Bernoulli(widths=(3000, 200), density=".1", seed=0), style="degrees").axes
    bars, chance = (patch.get_data().values for patch in left.patches)
    assert len(bars) == len(chance) == 1000
    assert np.abs(bars - chance)[10:-10].max() <= 1


def test_panels_say_how_unequal_degrees_are_and_how_many_are_none():
    figure = draw(network([4, 0, 0, 0], 4), style="degrees")
    assert [axes.get_title() for axes in figure.axes] == [
        "layer 0: Gini coefficient 0.75",
        "layer 0: Gini coefficient 0",
    ]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["3 without an edge"], []]


def test_many_layers_are_drawn_in_part():
    figure = draw(RadixNet(radices=[(2, 2)] * 4), style="degrees")
    assert len(figure.axes) == 12
    assert figure.texts[-1].get_text() == "The first 6 of 8 edge layers are shown."
