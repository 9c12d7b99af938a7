"""The tables of the code that files follow from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from s32s_agent.arguments import make_parser
from s32s_agent.config.options import Section, sections_of
from s32s_agent.config.properties import PROPERTIES, Property
from s32s_agent.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Tables:
    """What the agent has, unless a test tries other tables."""

    settings: type[Settings] = Settings
    properties: Sequence[Property] = PROPERTIES
    parser: argparse.ArgumentParser = field(default_factory=make_parser)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return the options of the config, by sections."""
        return sections_of(self.settings)
