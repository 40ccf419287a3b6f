"""Random changes of files of models: of any bytes, and of the fields, headers and lengths behind the checksums.

Each change is a function of the content and a random.Random, and returns the new content.
"""

import io
import json
import os
import pickle
import pickletools
import re
import zipfile
from contextlib import suppress
from copy import deepcopy

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63)]
VALUES = [*NUMBERS, 1e308, -0.5, float("nan"), "", "x", "../..", None, True, False, [], {}, [[]], [0] * 9]
HEADERS = ["'|O'", "'<f2'", "'>f8'", "'<U5'", "'<M8[s]'", "'<c16'", "'|V9'", "[('a', '<f4')]", "'?'", "True", "()"]
HEADERS += ["(-1,)", "(2, 3.5)", "(1099511627776, 4)", "(4, 4, 1, 1, 1, 1, 1)", "None", "{}", "(" * 90, "9" * 30]


class Canary:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def noise(content, draw):
    """Change, cut, insert or remove some bytes."""
    made = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(made) + 1)
        kind = draw.randrange(8)
        if kind < 5 and at < len(made):
            made[at] = draw.randrange(256)
        elif kind == 5:
            made[at:at] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 9)))
        elif kind == 6:
            del made[at : at + draw.randint(1, 9)]
        elif draw.random() < 0.2:
            del made[at:]
    return bytes(made)


def changed_json(content, draw):
    """Replace, remove, repeat or exchange values anywhere in a JSON text."""
    tree = json.loads(content)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            break
        inside, key = draw.choice(places)
        other, other_key = draw.choice(places)
        kind = draw.randrange(5)
        if kind == 0:
            del inside[key]
        elif kind == 1 and isinstance(inside, list):
            inside.insert(draw.randrange(len(inside)), inside[key])
        else:  # a copy, so that no value contains itself
            inside[key] = deepcopy(other[other_key] if kind == 2 else draw.choice(VALUES))
    return json.dumps(tree).encode()


def _places(tree):
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def changed_proto(content, draw):
    """Replace, remove, repeat or exchange fields anywhere in an ONNX model."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    for _ in range(draw.randint(1, 3)):
        fields = list(_fields(model))
        names = [value for _, field, value in fields if isinstance(value, str)]
        message, field, value = draw.choice(fields)
        if not isinstance(value, int | float | str | bytes):
            _change_several(message, field, value, draw)
            continue
        new = draw.choice({int: NUMBERS, float: [0.0, 1e30, -1.0], str: [*names, "", "/etc"]}.get(type(value), [b""]))
        if isinstance(value, bytes):
            new = noise(value, draw)
        try:
            setattr(message, field.name, new)
        except (ValueError, TypeError):  # a number that the field cannot hold
            message.ClearField(field.name)
    return model.SerializeToString()


def _change_several(message, field, values, draw):
    """Change a repeated field, or remove a message."""
    if not hasattr(values, "__len__") or not len(values):
        message.ClearField(field.name)
        return
    at, other = draw.randrange(len(values)), draw.randrange(len(values))
    kind = draw.randrange(4)
    if kind == 0:
        del values[at]
    elif isinstance(values[at], int):
        values[at] = draw.choice(NUMBERS[:8])
    elif isinstance(values[at], float | str | bytes):
        values.extend([values[other]])
    elif kind == 1:
        values.add().CopyFrom(values[at])
    else:
        values[at].CopyFrom(values[other])


def _fields(message):
    for field, value in message.ListFields():
        yield message, field, value
        several = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else [value]
        for one in several:
            if hasattr(one, "ListFields"):
                yield from _fields(one)


def changed_pickle(content, draw):
    """Change the arguments of the operations of a pickle, such as sizes and strides, or put operations into it."""
    made = bytearray(content)
    places = [(at, op.arg) for op, at in _operations(content) if op.arg is not None]
    numbers = [(at, arg) for at, arg in places if arg.name in ("int4", "uint1", "uint2", "long1")]
    for _ in range(draw.randint(1, 2)):
        at, arg = draw.choice(numbers if draw.random() < 0.7 else places)
        size = {"int4": 4, "uint2": 2}.get(arg.name, 1)
        made[at + 1 : at + 1 + size] = bytes(draw.choice([0, 1, 2, 3, 127, 255]) for _ in range(size))
    if draw.random() < 0.2:
        at = draw.randrange(len(made))
        made[at:at] = draw.choice([b"0", b"R", b"b", b"\x81", b"(", b"N", b"}", b"]" * 2000, b"cos\nsystem\n", b"."])
    return bytes(made)


def _operations(content):
    """Yield the operations of the pickles at the start of a file, and where they are."""
    file = io.BytesIO(content)
    with suppress(ValueError):  # numbers behind the last one
        while True:
            yield from ((op, at) for op, _, at in pickletools.genops(file))


def changed_header(content, draw):
    """Change the text before the numbers of an .npy array, whose length is right again."""
    length = int.from_bytes(content[8:10], "little")
    text = content[10 : 10 + length].decode("latin1")
    old = draw.choice(re.findall(r"'[<>|][^']*'|\d+|\([^)]*\)|False", text) or [text[:1]])
    new = draw.choice([*map(str, NUMBERS), *HEADERS, old * 2, ""])
    text = text.replace(old, new, 1).encode("latin1")
    return content[:8] + len(text).to_bytes(2, "little") + text + content[10 + length :]


def changed_archive(content, draw, changes):
    """Change members of a zip archive, and write them with right checksums.

    Args:
        content: the archive.
        draw: random.Random.
        changes: ending of a member's name -> change; of others bytes are changed.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    known = [i for i, (name, _) in enumerate(members) if name.endswith(tuple(changes))]
    sizes = [len(members[i][1]) for i in known]  # most changes where there is most
    i = draw.choices(known, sizes)[0] if draw.random() < 0.8 else draw.randrange(len(members))
    name, member = members[i]
    change = next((change for ending, change in changes.items() if name.endswith(ending)), noise)
    members[i] = name, (change if draw.random() < 0.8 else noise)(member, draw)
    if draw.random() < 0.1:
        members.pop(draw.randrange(len(members)))
    how = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(made := io.BytesIO(), "w", how) as archive:
        for name, member in members:
            archive.writestr(name, member)
    return made.getvalue()


def pickled(canary):
    """Return a pickle that would leave a folder behind."""
    return pickle.dumps(Canary(canary))


def with_payload(content, draw, canary, endings):
    """Put a pickle that would leave a folder behind into a member of an archive, or into its place."""
    payload = pickle.dumps(Canary(canary), draw.randint(0, 5))

    def change(member, draw):
        at = draw.randrange(len(member) + 1)
        return draw.choice([payload, member[:at] + payload[:-1] + member[at:], member[:128] + payload])

    return changed_archive(content, draw, dict.fromkeys(endings, change))
