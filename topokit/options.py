"""Options: the dataclass fields of a spec, by the names that constructors, flags and recipes have for them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar, dataclass_transform

from topokit._registry import nearest
from topokit.errors import InvalidSpecError
from topokit.fields import option
from topokit.layered import Layered, network
from topokit.reprs import described


def options_of(spec: Any) -> dict[str, dataclasses.Field[Any]]:
    """The options of a spec or its class: name in constructor, flags and recipe -> dataclass field."""
    return {field.metadata.get("alias") or field.name: field for field in dataclasses.fields(spec)}


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(option,))
class Options(Layered):
    """A `Layered` whose dataclass fields are its options; a field may have another name than its option.

    It has to where an attribute of `Layered` has the option's name, as `density` and `layers` do. Only `widths` is
    both. The constructor, `==`, the hash and the repr are the same for all subclasses, and not those of dataclasses.
    """

    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        parameters = []
        for name, annotation in inspect.get_annotations(cls).items():
            if hasattr(Layered, name) and name != "widths" and "ClassVar" not in str(annotation):
                raise TypeError(
                    f"the field {name} of {cls.__name__} would hide an attribute that every topology has: "
                    f'call it _{name}, with option(..., alias="{name}")'
                )
            if isinstance(field := vars(cls).get(name), dataclasses.Field):
                default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
                about: Any = {"default": default, "annotation": annotation}
                key = field.metadata.get("alias") or name
                parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, **about))
        if parameters:
            cls.__signature__ = inspect.Signature(parameters)
        for name in ("__init__", "__eq__", "__hash__", "__repr__"):  # dataclass writes those that a class lacks
            setattr(cls, name, getattr(cls, name))

    def __init__(self, **given: Any):
        missing = []
        for name, field in options_of(self).items():  # fields by their own names are from dataclasses.replace
            value = given.pop(name) if name in given else given.pop(field.name, field.default)
            if value is dataclasses.MISSING:
                missing.append(name)
            elif field.metadata["kind"] == "net":
                value = network(value, f"the {field.metadata['help'][4:-1]}")
            object.__setattr__(self, field.name, value)
        if given:
            name = next(iter(given))
            raise InvalidSpecError(f"{type(self).__name__} has no option {name}: {nearest(name, options_of(self))}")
        if missing:
            raise InvalidSpecError(f"{type(self).__name__} needs the option {missing[0]}: give {missing[0]}=")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the options and bring them to one form."""

    def __repr__(self) -> str:
        values = {name: getattr(self, field.name) for name, field in options_of(self).items()}
        return described(type(self).__name__, values)
