"""The kinds of corpora: one module each in `data/corpora/kinds/`, found by its place."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Union

from pydantic import Field

from abhinaya.config.corpus import Corpus

PACKAGE = "abhinaya.data.corpora.kinds"


def _kinds() -> list[type[Corpus]]:
    """The section of each module: its subclass of `Corpus` with a key `kind`, which is the module's name.

    The modules import `config.corpus`. They are imported by name, because the packages depend on each other in one
    direction, from `config` to `data`.
    """
    package = import_module(PACKAGE)
    modules = [import_module(f"{PACKAGE}.{module.name}") for module in iter_modules(package.__path__)]
    return [
        section
        for module in modules
        for section in vars(module).values()
        if isinstance(section, type) and issubclass(section, Corpus) and section.__module__ == module.__name__
    ]


KINDS = {section.model_fields["kind"].annotation.__args__[0]: section for section in _kinds()}
AnyCorpus = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007 - a computed union
