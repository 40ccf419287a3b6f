"""Layers whose names say that they stand beside others of the same model, and not in series with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from topokit.extraction.choosing import Chosen

SHORTCUT = re.compile(
    r"(^|[._/])((short(cut)?|skip|identity|bypass)\d*([._/]|$)|(downsample|residual)\d*([./]|$)"
    r"|(res(idual)?_(conv|proj|linear|fc)|(conv|proj|linear|fc)_res(idual)?|c(onv)?_sc)([./]|$))"
)
"""Words in the names of shortcuts; not those of `downsample_layers` or `residual_block`, which are in series."""

COPY = re.compile(r"(^|[._/])(ema|teacher|momentum)([._/]|$)")
"""Words in the names of copies, which are averages of the layers that are trained."""

_ENDS = r"(_proj|_lin|_linear)?"
_HEADS = r"(_head|_layer|_linear)"
_KINDS = (
    (  # attention: features pass through the values
        rf"(v|qkv|values?){_ENDS}|w_?vs?|c_attn|to_(q?kv|v|values?)",
        rf"(q|k|quer(y|ies)|keys?){_ENDS}|w_?[qk]s?|to_(q|k|quer(y|ies)|keys?)",
    ),
    (r"up_proj", r"gate_proj"),
    (r"branches[.]\d+|branch\w*", ""),
    (r"experts[.]\d+|experts", r"gate|gating|router"),
    (r"(expert|critic|q|head|stream|path)_?(\d+|[ab])|(heads|ensemble|members|critics|towers)[.]\d+", r"aux\w*"),
    (  # of a normal distribution
        rf"(fc_|linear_|head_)?mu{_HEADS}?|mean{_HEADS}|(fc|linear|head)_mean",
        rf"(fc_|linear_|head_)?(log_?var|log_?std){_HEADS}?|(std|var){_HEADS}|(fc|linear|head)_(std|var|sigma)",
    ),
    (r"lin_(l|src|rel)", r"lin_(r|dst|root)"),  # of graphs
    (r"fwd", r"bwd"),
    (r"(linear_)?ih|[ix]2h", r"[WU]_[xh][ifgoczrnh]|(linear_)?hh|h2h|[ix]2[oy]"),  # of recurrent layers
    (r"h2[oy]", ""),
    ("", r"lora_\w+|adapter\w*|film\w*|se(_module)?|squeeze_excit\w*|(time|label|cond)_(mlp|proj|emb\w*)"),
    (r"(embeddings|embs|emb_l)[.]\d+", r"wpe|pos(ition(al)?)?(_?emb\w*|_?enc\w*)?"),
)
"""Parts of names of layers that stand beside others: those that others may follow in series; those that none follows.

Two different ones of one kind, in the same module, stand beside each other.
"""

_OPPOSITES = (
    ("adv advantage", "val value"),
    ("policy", "value"),
    ("cls class classification classifier conf", "box bbox reg regression regressor loc"),
    ("gamma", "beta"),
    ("mean mu", "std var logvar logstd sigma"),
    ("real", "imag"),
    ("user", "item"),
    ("theta", "phi"),
    ("wide", "deep"),
)
"""Words in the names of parallel layers, if both are in the names of a model."""

_SIDES = (
    ("left", "right"),
    ("forward fwd", "backward bwd"),
    ("text txt", "image img visual vision"),
    ("src source", "dst target tgt"),
    ("alpha", "beta"),
    ("slow", "fast"),
    ("local", "global"),
    ("odd", "even"),
    ("self", "neigh neighbor neighbour neighbors neighbours"),
    ("query", "doc document"),
    ("scale", "shift"),
)
"""Words that parallel layers have whose names have all other words in common."""

_WORDS = {word for sides in (*_OPPOSITES, *_SIDES) for side in sides for word in side.split()}
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+|[0-9]+")

_ORDERLY = re.compile(
    r"(pre|predict)\w*|(fc|dense|lin|linear|conv|mlp|hidden|in|out|input|output|final|last|head)_?\d*"
)
"""Names of heads, such as pre_head or heads.fc, that may be in series with other heads."""


def _named(pattern: str) -> re.Pattern[str]:
    """Return the pattern of a part of a name."""
    return re.compile(rf"(^|[._/])(?P<part>{pattern})(?=[./]|$)", re.IGNORECASE)


_PATTERNS = tuple(_named("|".join(filter(None, kind))) for kind in _KINDS)
_PART = _named("|".join(part for kind in _KINDS for part in kind if part))
_ATTENTION, _NORMAL = ("part", 0), ("part", 5)
"""How the kinds of _KINDS[0] and _KINDS[5] begin."""
_BEGINS = _named(_KINDS[0][0])
_ASIDE = _named("|".join(aside for _, aside in _KINDS if aside))
_PACKED = re.compile(r"(^|[._/])(in|[qkv])_proj_weight$|weight_[ih]h_l\d+(_reverse)?$")
"""torch's names of the weights of attention and of LSTMs."""

_GATE = re.compile(r"(^|[._/])(?P<part>[WU]_?[fiocg])(?=[./]|$)", re.IGNORECASE)
"""Weights of an LSTM by hand; a W_i or W_o without a W_f may be in series."""

_OUTER = r"(_?(layer|proj|conv|fc|linear))?"
_FIRST = re.compile(
    rf"stem|in(put)?{_OUTER}|(?!un)\w*emb\w*(?<!_out)|tok(ens?)?|enc\w*|\w*att(n|ention)\w*|up_proj", re.IGNORECASE
)
_LAST = re.compile(
    rf"dec\w*|(\w*_)?head|(\w*_)?out(put)?{_OUTER}|unembed|classifier|logits|adv(antage)?(_\w+)?|h2[oy]|(o|down)_proj",
    re.IGNORECASE,
)
"""Parts of names of layers that are the first or the last of a module."""

WEIGHT = re.compile(r"(^|[./])(weight|(depthwise_|pointwise_)?kernel(:0)?)$")

Path = tuple[str, ...]
Kind = tuple[object, ...]
Kinds = Mapping[str, Mapping[Kind, str]]
"""Name of a layer -> kind -> which one it is. Different ones of one kind stand beside each other."""


def is_parallel(name: str) -> bool:
    """Return whether a name alone says that a layer stands beside others in the same model."""
    own = _without_weight(name)
    return _has_part(own) or bool(SHORTCUT.search(own) or _PACKED.search(own))


@lru_cache(maxsize=2**15)
def _has_part(own: str) -> bool:
    """Return whether a name, without that of the weight, has a part that `_PART` finds; kept, as it is asked often."""
    return bool(_PART.search(own))


def is_aside(name: str) -> bool:
    """Return whether a name says that no layer reads its outputs alone: queries, gates, shortcuts, copies ..."""
    own = _without_weight(name)
    return any(one.search(own) for one in (_ASIDE, SHORTCUT, COPY, _PACKED))


def begins(one: Chosen, related: Kinds) -> bool:
    """Return whether a layer can only be the first of a chain: an embedding, or the values of an attention.

    A layer that is named values but stands beside no queries or keys is a head, as in actor and critic.
    """
    match = _BEGINS.search(_without_weight(one.name))
    is_attention = match and (
        not match["part"].lower().startswith("value")
        or any(kind[:2] == _ATTENTION for kind in related.get(one.name, ()))
    )
    return one.is_embedding or bool(is_attention)


def standing(names: Sequence[str]) -> str:
    """Return the first names and their verb."""
    return f"{', '.join(names[:4])} stand{'s' if len(names) == 1 else ''}"


def path_of(name: str) -> Path:
    """Return the parts of a layer's name, without that of its weight."""
    return tuple(re.split("[./]", _without_weight(name)))


def _without_weight(name: str) -> str:
    return WEIGHT.sub("", name) or name


def kinds(layers: Sequence[Chosen], *, chain: bool) -> Kinds:
    """Return the kinds of parallel layers that each layer is of, if others of another name are of that kind too.

    Args:
        layers: of a model.
        chain: whether they chain in some order, so that fc21 and fc22 need not be parallel.
    """
    found: dict[Kind, dict[str, list[Chosen]]] = {}
    for one in layers:
        for kind, which in _kinds_of(one):
            found.setdefault(kind, {}).setdefault(which, []).append(one)
    for before, one in () if chain else pairwise(layers):
        if _are_numbered(before, one):
            name = _without_weight(one.name)
            kind = ("numbered", name[:-1], one.part.shape)
            found.setdefault(kind, {}).update({_without_weight(before.name): [before], name: [one]})
    several: dict[str, dict[Kind, str]] = {one.name: {} for one in layers}
    for kind, members in found.items():
        parallel = _of_equal_inputs(members) if kind[0] in ("heads", "words") else members
        is_kind = kind[0] != "gates" or {"f", "i", "o"} <= {which[-1] for which in members}
        if len(parallel) > 1 and is_kind:
            for which, ones in parallel.items():
                for one in ones:
                    several[one.name][kind] = which
    return several


def _are_numbered(before: Chosen, one: Chosen) -> bool:
    """Return whether two names differ in a last digit or letter that is one more, and no layer can follow the other."""
    first, second = _without_weight(before.name), _without_weight(one.name)
    ends = first[-1] + second[-1]
    consecutive = ord(ends[1]) - ord(ends[0]) == 1 and (ends.isdecimal() or ends.isalpha())
    apart = not (one.follows(before) or one.groups_after(before) or one.may_be_transposed)
    return first[:-1] == second[:-1] and consecutive and one.part.shape == before.part.shape and apart


def deviations(mean: Chosen, layers: Sequence[Chosen], related: Kinds) -> list[Chosen]:
    """Return the layers of the standard deviation or variance beside the mean of a normal distribution."""
    own = {kind for kind in related[mean.name] if kind[:2] == _NORMAL}
    return [one for one in layers if one is not mean and is_aside(one.name) and own & related[one.name].keys()]


def _kinds_of(one: Chosen) -> Iterator[tuple[Kind, str]]:
    """Yield the kinds of a layer by its name, each with which one of the kind it is."""
    name = _without_weight(one.name)
    for i, pattern in enumerate(_PATTERNS if _has_part(name) else ()):
        if match := pattern.search(name):
            yield ("part", i, name[: match.start("part")]), match["part"].lower()
    if match := _GATE.search(name):
        yield ("gates", name[: match.start("part")]), match["part"].lower()
    if one.is_embedding:
        yield ("embedding",), name
    words = list(map(str.lower, _WORD.findall(name)))
    for i, sides in enumerate(() if _WORDS.isdisjoint(words) else (*_OPPOSITES, *_SIDES)):
        at = [(k, side) for k, word in enumerate(words) for side in sides if word in side.split()]
        if at:
            k, side = at[-1]
            numbers = filter(str.isdecimal, words[:k])
            rest = () if i < len(_OPPOSITES) else (*words[:k], *words[k + 1 :])
            yield ("words", i, *numbers, rest), side
    path = path_of(one.name) if "head" in name.lower() else ()
    for k, part in enumerate(path):
        head = re.fullmatch(r"(\w+?)_?head", part, re.IGNORECASE)
        which = head[1] if head else part if k and path[k - 1] == "heads" else ""
        if which and not _ORDERLY.fullmatch(which.lower()):
            yield ("heads", *path[:k]), which.lower()


def _of_equal_inputs(members: Mapping[str, list[Chosen]]) -> dict[str, list[Chosen]]:
    """Return those that have a layer with as many inputs as one of another; without, they may be in series."""
    sizes = {which: {one.ends[0] for one in ones} for which, ones in members.items()}
    times = Counter(size for own in sizes.values() for size in own)
    return {which: ones for which, ones in members.items() if any(times[size] > 1 for size in sizes[which])}


def are_in_series(chain: Sequence[Chosen], related: Kinds) -> bool:
    """Return whether no names say that two layers of a chain stand beside each other, or that one must be the first."""
    taken: dict[Kind, str] = {}
    alone = all(
        taken.setdefault(kind, which) == which for one in chain for kind, which in related.get(one.name, {}).items()
    )
    return alone and not any(one.is_embedding for one in chain[1:])


def choices(layers: Sequence[Chosen], related: Kinds) -> Iterator[tuple[Chosen, ...]]:
    """Yield parts of layers, in their order, with one of each kind: the first ones, then others in their place."""
    main = [one for one in layers if not is_aside(one.name)]
    chosen: set[str] = set()
    for first in main:
        if chosen and (first.name in chosen or not related.get(first.name)):
            continue
        taken = dict(related.get(first.name, {}))
        part = []
        for one in main:
            own = related.get(one.name, {})
            if all(taken.get(kind, which) == which for kind, which in own.items()):
                taken.update(own)
                part.append(one)
        chosen.update(one.name for one in part)
        yield tuple(part)


def by_number(name: str) -> tuple[object, ...]:
    """Return a key that sorts names in their natural order: fc2 before fc10, net.0.4 before net.1.0."""
    return tuple(
        tuple((part.isdecimal(), int(part) if part.isdecimal() else part) for part in re.split("([0-9]+)", own) if part)
        for own in path_of(name)
    )


def by_place(name: str) -> tuple[object, ...]:
    """Return a key that sorts names in their natural order, but encoders first in their module, and heads last."""
    places = (1 - bool(_FIRST.fullmatch(own)) + bool(_LAST.fullmatch(own)) for own in path_of(name))
    return tuple(zip(places, by_number(name), strict=True))
