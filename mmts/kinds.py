"""The kinds of one family, such as interactions: those built in, and the user's own.

An own kind comes from an installed package, by an entry point, or from a class that was registered
in Python. Never from a path in a config or a checkpoint: either may be a stranger's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, Literal, TypeVar, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mmts.config_base import Config
from mmts.errors import KindError, nearest

KIND_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"

logger = logging.getLogger(__name__)


class Origin(Config):
    """Who gave an own kind; this is what a checkpoint remembers of it.

    package, version: of the distribution; None for a class that was registered in Python.
    """

    family: Literal["interaction", "encoder"]
    kind: str = Field(pattern=KIND_NAME)
    package: str | None = Field(None, pattern=r"^[A-Za-z0-9._\-]+$")
    version: str | None = Field(None, pattern=r"^[A-Za-z0-9._+!\-]+$")

    def __str__(self) -> str:
        """Name kind and giver for a message."""
        giver = "of a class registered in Python"
        if self.package is not None:
            giver = f"of package {self.package} {self.version}"
        return f"{self.family} kind {self.kind!r} {giver}"


SettingsT = TypeVar("SettingsT", bound=Config)
ModuleT = TypeVar("ModuleT")


@dataclass(frozen=True)
class OwnKind(Generic[SettingsT, ModuleT]):
    """A kind that is not built in: its settings, its module, and who gave it."""

    settings: type[SettingsT]
    module: type[ModuleT]
    origin: Origin


class Kinds(Generic[SettingsT, ModuleT]):
    """All kinds of one family.

    Beside the union of the settings that are built in, as in `Annotated[A | B, KINDS]`, it lets
    settings of own kinds be read and written there as well.
    """

    def __init__(
        self,
        family: Literal["interaction", "encoder"],
        settings_base: type[SettingsT],
        module_base: type,
        built_in: Mapping[type[SettingsT], type[ModuleT]],
    ) -> None:
        """Start with what is built in: per class of settings, the module."""
        self.family = family
        self.group = f"mmts.{family}s"
        self.settings_base = settings_base
        self.module_base = module_base
        self.built_in = {_kind_of(s): (s, module) for s, module in built_in.items()}
        self._own: dict[str, OwnKind[SettingsT, ModuleT]] = {}
        self._installed: EntryPoints | None = None

    def register(self, module: type[ModuleT]) -> None:
        """Take in a class as an own kind, for this process.

        A class of the same name and place takes the place of the former, as when a cell of a
        notebook runs again. Raises KindError where the class is none that can be used, or where
        its kind is another's.
        """
        settings = self._settings_of(module, "registered in Python")
        kind = _kind_of(settings)
        origin = Origin(family=self.family, kind=kind)
        for offer in self._offers(kind, afresh=True):
            giver = _origin_of(offer, self.family)
            if offer.value.replace(":", ".") != _place_of(module):
                raise KindError(
                    f"{origin}, {_place_of(module)}: the {giver} has that name too. "
                    "Give your kind another name, or uninstall the package."
                )
            origin = giver
        known = self._own.get(kind)
        if known is not None and _place_of(known.module) != _place_of(module):
            raise KindError(
                f"{origin}, {_place_of(module)}: {_place_of(known.module)} has that name too. "
                "Give one of them another."
            )
        self._own[kind] = OwnKind(settings, module, origin)

    def settings_class(self, kind: str) -> type[SettingsT]:
        """Return the class of a kind's settings; raises KindError."""
        if kind in self.built_in:
            self._refuse_second_giver(kind)
            return self.built_in[kind][0]
        return self._own_kind(kind).settings

    def own_settings_class(self, kind: str) -> type[SettingsT] | None:
        """Return the class of an own kind's settings; None where no such kind was read so far."""
        own = self._own.get(kind)
        return None if own is None else own.settings

    def module_class(self, kind: str) -> type[ModuleT]:
        """Return the module of a kind; raises KindError."""
        return self.built_in[kind][1] if kind in self.built_in else self._own_kind(kind).module

    def origins(self, kinds: Iterable[str]) -> tuple[Origin, ...]:
        """Return who gave those of some kinds that are not built in."""
        own = sorted(set(kinds) - set(self.built_in))
        return tuple(self._own_kind(kind).origin for kind in own)

    def fault(self, origin: Origin) -> str | None:
        """Return why a kind that was used once cannot be used here, and what to do.

        None where it can. Another version of its package is only warned of.
        """
        kind = origin.kind
        if kind in self.built_in:
            return (
                f"the {origin} is needed, and this mmts has a kind of its own by that name. "
                "Use the version of mmts with which it was trained."
            )
        try:
            own = self._find(kind)
        except KindError as error:
            return str(error)
        if own is None and origin.package is None:
            return (
                f"the {origin} is needed, and there is none here. Register it first, with "
                f"mmts.register_{self.family}(...)."
            )
        if own is None:
            return (
                f"the {origin} is needed, and there is none here. Install {origin.package} "
                f"{origin.version}, if you trust who made it."
            )
        here = own.origin
        if origin.package is not None and here.package is not None:
            if here.package != origin.package:
                return (
                    f"the {origin} is needed, and here that kind is {here.package}'s. "
                    f"Install {origin.package} {origin.version} in its place, if you trust who "
                    "made it."
                )
            if here.version != origin.version:
                logger.warning("the %s is needed; here is version %s", origin, here.version)
        return None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read own kinds beside those of the union; write each as what it is."""
        return core_schema.no_info_wrap_validator_function(
            self._read, handler(source), serialization=core_schema.simple_ser_schema("any")
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Leave own kinds open: an editor cannot know them, and must not call them wrong."""
        fields = self.settings_base.model_fields.items()
        required = [field.alias or name for name, field in fields if field.is_required()]
        other_kind = {"type": "string", "pattern": KIND_NAME, "not": {"enum": list(self.built_in)}}
        own = {
            "title": f"Own kind of {self.family}",
            "type": "object",
            "required": sorted({"kind", *required}),
            "properties": {"kind": other_kind},
        }
        return {"anyOf": [handler(schema), own]}

    def _read(self, value: Any, read_built_in: Callable[[Any], Any]) -> Any:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        if not isinstance(kind, str):
            return read_built_in(value)
        try:
            settings = self.settings_class(kind)
        except KindError as error:
            raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from error
        if kind in self.built_in:
            return read_built_in(value)
        # As an entry under its kind, so that the place of a fault reads as that of any other kind.
        # That class is known only now, and so not to a checker of types.
        return TypeAdapter(dict[str, settings]).validate_python({kind: value})[kind]  # type: ignore[valid-type]

    def _own_kind(self, kind: str) -> OwnKind[SettingsT, ModuleT]:
        own = self._find(kind)
        if own is None:
            assert self._installed is not None
            known = [*self.built_in, *self._own, *sorted(self._installed.names)]
            listing = ", ".join(repr(name) for name in dict.fromkeys(known))
            raise KindError(
                f"kind {kind!r} is not known; choose one of {listing}, "
                f"or install or register your own first{nearest(kind, known)}"
            )
        return own

    def _find(self, kind: str) -> OwnKind[SettingsT, ModuleT] | None:
        """Return an own kind, loaded where it is of a package; None where nobody gives it."""
        if kind not in self._own:
            offers = self._offers(kind, afresh=True)
            if not offers:
                return None
            origin = _origin_of(offers[0], self.family)
            if len(offers) > 1:
                givers = ", ".join(_package_of(offer) for offer in offers)
                raise KindError(
                    f"{self.family} kind {kind!r} is given by several packages: {givers}. "
                    "Uninstall all but one."
                )
            module = _load(offers[0], origin)
            settings = self._settings_of(module, str(origin))
            if _kind_of(settings) != kind:
                raise KindError(
                    f"{origin}: {settings.__name__} says kind {_kind_of(settings)!r}. "
                    "The entry point must have the name of the kind."
                )
            self._own[kind] = OwnKind(settings, module, origin)
        return self._own[kind]

    def _offers(self, kind: str, afresh: bool = False) -> tuple[EntryPoint, ...]:
        """Return what installed packages give under a name; loads nothing.

        afresh: look again at what is installed, which takes some 20 ms.
        """
        if self._installed is None or afresh:
            self._installed = entry_points(group=self.group)
        return tuple(self._installed.select(name=kind))

    def _refuse_second_giver(self, kind: str) -> None:
        # Else an update of mmts that brings a kind could take a package's place in silence.
        for offer in self._offers(kind):
            raise KindError(
                f"{self.family} kind {kind!r} is built in, and {_package_of(offer)} has one of "
                "that name too. Uninstall the package, or give its kind another name."
            )

    def _settings_of(self, module: Any, who: str) -> type[SettingsT]:
        """Return the settings of a class; raises KindError where it keeps not to the contract."""
        base = self.module_base.__name__
        if not (isinstance(module, type) and issubclass(module, self.module_base)):
            raise KindError(f"{who}: {module!r} is no subclass of {base}. Derive it from that.")
        if missing := sorted(getattr(module, "__abstractmethods__", ())):
            raise KindError(f"{who}: {module.__name__} lacks {', '.join(missing)}. Write that.")
        settings = getattr(module, "config_class", None)
        if not (isinstance(settings, type) and issubclass(settings, self.settings_base)):
            raise KindError(
                f"{who}: {module.__name__}.config_class is no subclass of "
                f"{self.settings_base.__name__}. Set it to the class of the kind's settings."
            )
        kind = _kind_of(settings)
        if not re.match(KIND_NAME, kind):
            raise KindError(
                f"{who}: {settings.__name__} does not name its kind. Write in it, with a name of "
                'letters, digits and underscores: kind: Literal["name"] = "name".'
            )
        if kind in self.built_in:
            raise KindError(f"{who}: kind {kind!r} is built in. Give yours another name.")
        return settings


def _kind_of(settings: type[Config]) -> str:
    """Return the kind that a class of settings is of; empty where it does not name just one."""
    field = settings.model_fields.get("kind")
    names = () if field is None else get_args(field.annotation)
    is_named = field is not None and names == (field.default,) and isinstance(names[0], str)
    return names[0] if is_named else ""


def _place_of(module: type) -> str:
    return f"{module.__module__}.{module.__qualname__}"


def _origin_of(offer: EntryPoint, family: Literal["interaction", "encoder"]) -> Origin:
    assert offer.dist is not None
    package = re.sub(r"[-_.]+", "-", offer.dist.name).lower()
    return Origin(family=family, kind=offer.name, package=package, version=offer.dist.version)


def _package_of(offer: EntryPoint) -> str:
    assert offer.dist is not None
    return f"package {offer.dist.name} {offer.dist.version}"


def _load(offer: EntryPoint, origin: Origin) -> Any:
    try:
        return offer.load()
    except Exception as error:
        # Somebody else's code, which may raise anything.
        raise KindError(
            f"the {origin} cannot be loaded: {type(error).__name__}: {error}. "
            "Repair or reinstall the package."
        ) from error
