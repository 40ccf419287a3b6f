"""Tests that can fail: no expected text is a part of what the test gives."""

from collections.abc import Iterator, Mapping

EXPECTED = ("said", "message")
"""The names of parameters that hold an expected text."""


def texts(given: object, depth: int = 6) -> Iterator[str]:
    """Yield the texts and numbers in a parameter, down to a depth: some parameters are hostile."""
    if isinstance(given, Mapping):
        given = [*given.keys(), *given.values()]
    if isinstance(given, list | tuple):
        for part in given if depth else ():
            yield from texts(part, depth - 1)
    elif isinstance(given, bytes):
        yield given.decode("latin-1")
    elif isinstance(given, str) or (isinstance(given, int | float) and abs(given) < 1e9):
        yield str(given)


def weak(parameters: Mapping[str, object]) -> list[str]:
    """Return the expected texts that any message about these parameters holds, as it repeats them or their names."""
    given = "\n".join(texts({name: value for name, value in parameters.items() if name not in EXPECTED}))
    expected = [value for name, value in parameters.items() if name in EXPECTED and isinstance(value, str)]
    return [text for text in expected if text and text.replace("\\", "").lstrip("-") in given]


def test_an_expected_text_is_no_part_of_what_is_given(request):
    found = {item.nodeid: weak(item.callspec.params) for item in request.session.items if hasattr(item, "callspec")}
    assert {test: words for test, words in found.items() if words} == {}


def test_what_a_message_repeats_is_weak():
    assert weak({"args": ("build", "--crop", "4,9,4"), "code": 2, "said": "9"}) == ["9"]
    assert weak({"args": ("build", "--crop", "4,9,4"), "code": 2, "said": "at most 4"}) == []
    assert weak({"setting": {"lr": "fast"}, "message": "--lr"}) == ["--lr"]
    assert weak({"neurons": 3, "said": r"neurons"}) == ["neurons"]
    assert weak({"text": b"complex", "said": "complex"}) == ["complex"]
