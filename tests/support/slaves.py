"""A slave for most tests: one mapping from `data` in a bucket to one directory, run as a process."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.hosts import MAPS, NAME, PREFIX, Host
from support.trees import RESERVED, snapshot

TEMPORARY = ".s32s-tmp."


class Slave(Host):
    """An agent in the role slave, the bucket that it mirrors, and the directory that it writes."""

    @property
    def target(self) -> Path:
        """The directory of the default mapping."""
        return self.root / NAME

    def mapping(self, name: str = NAME, s3: str = PREFIX, **properties: Any) -> dict[str, Any]:
        """Return a mapping from a prefix of the bucket to the directory of its name."""
        slave = str(self.root / name)
        return {"name": name, "s3": f"{self.bucket}/{s3}", "slave": slave, **properties}

    def publish(self, files: Mapping[str, bytes], prefix: str = PREFIX) -> None:
        """Put objects under the prefix of the default mapping, 10 at a time, as many as boto3 connects."""
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda key: self.put(f"{prefix}/{key}", files[key]), files))

    def configure(self, maps: str = MAPS, **sections: Any) -> None:
        """Write the config; as `Agent.configure`, with maps and roots given."""
        self.agent.configure(maps=f"{self.bucket}/{maps}", roots=[self.root], **sections)

    def tree(self) -> dict[str, bytes | None]:
        """Return the content of the target without the agent's own directory."""
        return snapshot(self.target)

    def trash(self) -> dict[str, bytes]:
        """Return the files in the target's trash by key, of all runs together."""
        trash = self.target / RESERVED / "trash"
        return {
            str(Path(name).relative_to(run.name)): data
            for run in (trash.iterdir() if trash.exists() else ())
            for name, data in snapshot(trash).items()
            if data is not None and name.startswith(f"{run.name}/")
        }

    def temporaries(self) -> list[str]:
        """List the temporary files below the root and the state directory."""
        found = [*self.root.rglob(f"{TEMPORARY}*"), *self.agent.state_dir.rglob("*tmp*")]
        return [str(each) for each in found]
