"""Publish snapshots of a data set, as a master would: with the agent's own chunks, by the rule of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s32s_agent.model import Entry
from tools.publications import publication

from .data import DataSet
from .stage import BUCKET, Stage
from .tools import MAPPING, PREFIX, SNAPSHOTS


def publish(stage: Stage, sequence: int, versions: Mapping[int, int]) -> None:
    """Write chunks, the snapshot and the channel.

    Args:
        stage: the store.
        sequence: of the publication.
        versions: of the objects that are not in their first version, by number.
    """
    found = entries(stage.workload.data, versions)
    for key, body in publication(found, MAPPING, f"{BUCKET}/{PREFIX}", sequence):
        stage.put(BUCKET, f"{SNAPSHOTS}/{key}", body)


def entries(data: DataSet, versions: Mapping[int, int]) -> Iterator[Entry]:
    """Yield what the store holds, in key order."""
    for number in range(data.count):
        file = data.file(number, versions.get(number, 0))
        yield Entry(data.key(number), file.size, file.md5)
