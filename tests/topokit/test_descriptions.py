"""Descriptions: texts become networks and networks texts; files have their say; mistakes have a place."""

import random
import re

import numpy as np
import pytest
from topokit_cli.build import command as build
from topokit_cli.build import described

import topokit as tk
from topokit.descriptions import describe, parse, split_pattern, topology
from topokit.errors import InvalidSpecError, TopokitError
from topokit.families import FAMILIES
from topokit.transforms import TRANSFORMS, concatenate, crop, kron, permute, reverse

CASES = 500
LENET = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"


def spelled(draw, key):
    return key.replace("_", draw.choice("-_"))


def in_quotes(text):
    """As a POSIX shell wants it, written here anew: single quotes, and those inside taken out and escaped."""
    return "'" + text.replace("'", "'\\''") + "'"


def listed(values):
    return ",".join(map(str, values))


def family_case(draw, make):
    """(options as texts, read off the recipe here anew; the network) of a random network of one family."""
    net = make(np.random.default_rng(draw.randrange(2**32)))
    net = net.of if net.name == "crop" else net
    texts = [
        (key, listed(one) if isinstance(one, list) else str(one))
        for key, value in net.recipe["options"].items()
        for one in (value if key == "radices" else [] if value is None else [value])
    ]
    return texts, net


def case(draw, makers, depth=0):
    """(a text, the network that it describes)."""
    names = [*FAMILIES, *(TRANSFORMS if depth < 3 else ())]
    name = draw.choice([one for one in names if depth < 3 or one != "regular"])
    if name in FAMILIES and name != "regular":
        texts, net = family_case(draw, makers[name])
    else:
        text, inner = case(draw, makers, depth + 1)
        seed = draw.randrange(100)
        widths = tuple(max(1, width - 1) for width in inner.widths)
        copies = tuple(draw.choice([1, 2]) for _ in inner.widths)
        texts, net = {
            "regular": lambda: ([("like", text), ("seed", str(seed))], tk.Regular(like=inner, seed=seed)),
            "crop": lambda: ([("of", text), ("widths", listed(widths))], crop(inner, widths)),
            "kron": lambda: ([("of", text), ("kron", listed(copies))], kron(inner, copies)),
            "permute": lambda: (
                [("of", text), ("seed", str(seed)), ("keep_ends", "yes")],
                permute(inner, seed, keep_ends=True),
            ),
            "reverse": lambda: ([("of", text)], reverse(inner)),
            "concatenate": lambda: (
                [("of", text), ("of", f"reverse of={in_quotes(text)}")],
                concatenate(inner, reverse(inner)),
            ),
        }[name]()
    if draw.random() < 0.3:
        kept = tuple(max(1, width - 2) for width in net.widths)
        texts, net = [*texts, ("crop", listed(kept)), ("crop_keep", "last")], crop(net, kept, keep="last")
    if name != "concatenate":
        order = sorted(range(len(texts)), key=lambda i: 0 if texts[i][0] == "radices" else 1 + draw.random())
        texts = [texts[i] for i in order]
    words = [f"{spelled(draw, key)}={value if value.isalnum() else in_quotes(value)}" for key, value in texts]
    return " ".join([name, *words]), net


@pytest.mark.parametrize("number", range(CASES))
def test_text_network_text_is_a_fixed_point(number, makers):
    text, expected = case(random.Random(number), makers)
    net = topology(text)
    written = describe(net)
    again = topology(written)
    assert describe(again) == written == str(parse(written))
    assert again.recipe == net.recipe == expected.recipe
    if number % 5 == 0:
        assert tk.fingerprint(net) == tk.fingerprint(expected)


@pytest.mark.parametrize("number", range(0, CASES, 5))
def test_flags_of_build_and_words_describe_the_same(number, makers):
    draw = random.Random(number)
    name = draw.choice([one for one in FAMILIES if one != "regular"])
    texts, _ = family_case(draw, makers[name])
    words = [name, *(f"{key}={value}" for key, value in texts)]
    flags = ["--family", name]
    for key, value in texts:
        flags += [f"--{key.replace('_', '-')}", value]
    if draw.random() < 0.3 and name != "lps":
        words, flags = [*words, "random-equivalent=bernoulli"], [*flags, "--random-equivalent", "bernoulli"]
        if not any(key == "seed" for key, _ in texts):
            words, flags = [*words, "seed=3"], [*flags, "--topology-seed", "3"]
    params = build.make_context("build", flags).params
    for name in ("output", "force", "as_json"):
        del params[name]
    assert described(params).open().recipe == topology(" ".join(words)).recipe


def test_every_family_and_transform_is_drawn(makers):
    heads = {case(random.Random(number), makers)[0].split()[0] for number in range(CASES)}
    assert heads == {*FAMILIES, *TRANSFORMS}


def test_permutations_are_lists_or_none():
    net = permute(tk.RadixNet(radices=[(2, 2)]), permutations=[None, (3, 2, 1, 0), None])
    assert describe(net) == "permute of='radix-net radices=2,2' permutations='none;3,2,1,0;none'"
    assert topology(describe(net)).recipe == net.recipe


@pytest.mark.parametrize("order", ["crop=20,9 random-equivalent=regular", "random-equivalent=regular crop=20,9"])
def test_a_crop_comes_before_a_random_equivalent_whatever_their_order(order):
    net = topology(f"bernoulli widths=30,10 density=.3 {order} seed=4")
    of = crop(tk.Bernoulli(widths=(30, 10), density=".3", seed=4), (20, 9))
    assert net.recipe == tk.Regular(like=of, seed=4).recipe


def test_the_last_nodes_may_be_kept_and_layers_are_returned_as_they_are():
    net = topology(f"{LENET} crop-keep=last")
    assert tk.fingerprint(net) == tk.fingerprint(
        crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100), keep="last")
    )
    assert topology(net) is net


@pytest.mark.parametrize(
    "name",
    [
        *("a b.safetensors", "it's", 'a"b', "x=1", "ünï.safetensors", "two\nlines", "a: b", "fc1:", "pruned=x", "-x"),
        *("radix-net.safetensors", " ", "a\\b", "#", "$HOME"),
    ],
)
def test_an_existing_path_is_that_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = tk.RadixNet(radices=[(2, 3)])
    tk.save(net, name, to="safetensors")
    for given in (name, f"./{name}", tmp_path / name, str(tmp_path / name)):
        assert tk.fingerprint(topology(given)) == tk.fingerprint(net)
    assert split_pattern(name) == (None, name)
    inside = f"reverse of={in_quotes(name)}"
    assert tk.fingerprint(topology(inside)) == tk.fingerprint(reverse(net))
    cropped = f"{in_quotes('./' + name)} crop=6,5,6"
    assert tk.fingerprint(topology(cropped)) == tk.fingerprint(crop(net, (6, 5, 6)))
    for text in (name, inside, cropped):
        assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize("name", ["radix-net", "radix_net", "crop", "dense"])
def test_a_file_that_is_named_like_a_family_needs_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tk.save(tk.RadixNet(radices=[(2, 3)]), name)
    with pytest.raises(InvalidSpecError, match=rf"write ./{name} for the file|use it alone"):
        topology(name)
    assert topology(f"./{name}").widths == (6, 6, 6)
    assert str(parse(f"./{name}")) == f"./{name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("radix-net radixes=2,2", r"radix-net has no option 'radixes': did you mean radices\? \(at character 11: "),
        ("radix-net radices=2,2 kron='1,2", r"a quote or a backslash has no end: close it \(at character 23: "),
        ("radix-net radices=2,2 \\", "no end"),
        (" radix-net \n\t radixes=2", r"did you mean radices\? \(at character 15: 'radixes=2'\)"),
        ("radix-net radices=2,2 kron=1 kron=2", r"kron is given twice: give it once \(at character 30: 'kron=2'\)"),
        ("bernoulli fan_in=3", r"bernoulli has no option 'fan_in': known: widths, density"),
        ("fixed-fan-in fan-in=2 fan_in=3", "fan_in is given twice"),
        ("radix-net radices=2,2 kron", r"'kron' is not KEY=VALUE \(at character 23"),
        (
            "radix-net radices=2,x",
            r"radices: '2,x' is not a list of integers separated by commas \(at character 11",
        ),
        ("butterfly nodes=8.0", "nodes: '8.0' is not an integer"),
        ("butterfly nodes=٣", "is not an integer"),
        ("butterfly nodes=1_0", "is not an integer"),
        (
            f"butterfly nodes={'9' * 4301}",
            r"an integer of 4,301 digits is too large: give at most 4,300 \(at character",
        ),
        (f"bernoulli widths=2,2 density={'9' * 4301}", "density: the values must be numbers such as"),
        ("bernoulli widths=2,2 density=.5 seed=1 allocation=erc", "must be one of .*, not 'erc': did you mean erk"),
        ("permute of='radix-net radices=2' seed=1 keep-ends=maybe", "keep-ends: 'maybe' is neither yes nor no"),
        ("reverse of='radix-net radixes=2'", r"did you mean radices\? \(at character 11: 'radixes=2'\)"),
        (
            "raddix-net radices=2",
            r"no file, family or transform 'raddix-net': did you mean radix-net\? \(at character 1",
        ),
        ("nothing.safetensors", r"no file, family or transform 'nothing.safetensors': give a file that exists"),
        ("nothing.safetensors crop=2", "give a file that exists"),
        ("runs é 漢字/t", r"there is no file 'runs é 漢字/t': give a file that exists \(at character 1: 'runs é"),
        ("my net.npz crop=2", "there is no file 'my net.npz': give a file that exists"),
        ("reverse of='a  b/c d'", "there is no file 'a  b/c d': give a file that exists"),
        ("bernouli widths 4,4 density 1/2", "'bernouli': did you mean bernoulli"),
        ("", "an empty text describes no topology"),
        ("  \n ", "an empty text"),
        ("''", "an empty text"),
        ("dense", "dense is a model without topologies"),
        ("pruned=a sparsity=.5", "pruned=a is of a run in the same grid"),
        ("radix-net radices=2,2 seed=1", r"seed has no use here: radix-net is not random \(at character 1"),
        ("radix-net radices=2,2 crop-keep=last", "crop_keep needs crop"),
        ("radix-net kron=2", "radix-net needs radices"),
        ("bernoulli widths=2,2 density=.5", "is random and has no seed: add seed=0"),
        ("radix-net radices=2,1", "radices must be at least 2, not 1"),
        ("bernoulli widths=2,2 density=.5 seed=-1", "seed must be at least 0"),
        ("radix-net radices=2,2 random-equivalent=regulr seed=1", "did you mean regular"),
        ("radix-net(radices=2, kron=1)", "write the options of radix-net as 'radix-net key=value key=value'"),
        ("butterfly:nodes=8", "write the options of butterfly as 'butterfly key=value key=value'"),
        ("\0", "no file, family or transform"),
        ("x" * 5000, "no file, family or transform"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text, message):
    with pytest.raises(InvalidSpecError, match=message) as error:
        topology(text)
    assert "\n" not in str(error.value)
    assert not re.search(r"(^|\s)--[a-z]", str(error.value))


def test_a_path_with_blanks_needs_quotes_before_options(tmp_path):
    path = tmp_path / "my net.npz"
    tk.save(tk.Topology.from_dense([np.eye(3)]), path)
    assert topology(str(path)).widths == topology(f"'{path}' crop=3,3").widths == (3, 3)
    with pytest.raises(InvalidSpecError, match=rf"needs quotes: write '{path}' \(at character 1"):
        topology(f"{path} crop=3,3")


def test_what_no_text_describes_is_refused(tmp_path):
    with pytest.raises(InvalidSpecError, match="has no recipe, so no text describes it"):
        describe(tk.Topology.from_dense([[[1, 1]]]))
    with pytest.raises(InvalidSpecError, match="extracted from"):
        describe({"extraction": "weights", "options": {"file": "a", "sha256": "0" * 64}})
    with pytest.raises(TopokitError, match="cannot read"):
        topology(tmp_path / "none")
    net = tk.RadixNet(radices=[(2, 2)])
    for _ in range(20):
        net = reverse(net)
    with pytest.raises(InvalidSpecError, match="nested too deeply"):
        describe(net)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fc*: bernoulli density=.1", ("fc*", "bernoulli density=.1")),
        ("blocks.*.mlp.0:  dense", ("blocks.*.mlp.0", "dense")),
        ("radix-net radices=2,2", (None, "radix-net radices=2,2")),
        ("a:b.safetensors", (None, "a:b.safetensors")),
        (": x", (None, ": x")),
        ("regular like='a: b' seed=1", (None, "regular like='a: b' seed=1")),
    ],
)
def test_a_pattern_ends_in_a_colon_and_a_space(text, parts):
    assert split_pattern(text) == parts


def test_one_seed_of_a_run_draws_what_has_none_at_any_depth():
    text = "regular like='bernoulli widths=4,4 density=.5' seed=2"
    assert topology(text, seed=7).recipe == topology(text.replace("=.5'", "=.5 seed=7'")).recipe
    assert str(parse(text).seeded(7)) == "regular like='bernoulli widths=4,4 density=1/2 seed=7' seed=2"
