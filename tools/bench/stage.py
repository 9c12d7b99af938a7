"""Where a workload plays: the server, what is between it and the tools, and each tool's own directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from s32s_agent.demo.seaweedfs import seaweedfs

from .listing_server import ListingServer
from .relay import Relay
from .store import Address, Store, open_store
from .tools import PREFIX, Direction, Job, Tool
from .trees import wipe
from .workloads import Scenario, Workload

SOURCE = "source"
BUCKET = "bench"


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server and a directory for everything."""

    workload: Workload
    directory: Path
    address: Address
    """How tools reach the server, through the relay where there is one."""
    store: Store | None
    """None where a listing server stands in."""
    put: Callable[[str, str, bytes], None]
    """Puts an object: bucket, key, bytes."""
    listing: ListingServer | None
    """What stands in for the store, where there is none."""
    server: int | None
    """The process id of the server, when it is one of its own."""
    relay: Relay | None

    def job(self, tool: Tool) -> Job:
        """Say what a tool has to do, and where; each tool has a tree and, to push, a bucket of its own."""
        slug = "".join(letter if letter.isalnum() else "-" for letter in tool.name)
        workload = self.workload
        push = workload.scenario is Scenario.FIRST_PUSH
        return Job(
            direction=Direction.PUSH if push else Direction.PULL,
            address=self.address,
            bucket=f"{BUCKET}-{slug.replace('--', '-')}" if push else BUCKET,
            directory=self.source if push else self.directory / "trees" / slug,
            home=self.directory / "homes" / slug,
            first=workload.scenario in {Scenario.FIRST_PULL, Scenario.FIRST_PUSH},
            only_key=workload.data.key(0) if workload.data.count == 1 else None,
            max_bandwidth=workload.max_bandwidth,
            delayed=workload.delay_ms > 0,
            snapshots=workload.snapshots,
        )

    @property
    def source(self) -> Path:
        """The directory that is pushed."""
        return self.directory / "trees" / SOURCE

    @property
    def scratch(self) -> Path:
        """A directory for what a measurement writes."""
        return self.directory / "scratch"

    @property
    def filled(self) -> Store:
        """The real store."""
        assert self.store is not None, (
            f"workload {self.workload.name} has a listing server only"
        )
        return self.store

    def set_up(self, tool: Tool, job: Job) -> None:
        """Return a tool an empty home with what it needs."""
        wipe(job.home)
        tool.set_up(job, lambda key, body: self.put(job.bucket, key, body))


@contextmanager
def open_stage(workload: Workload, directory: Path) -> Iterator[Stage]:
    """Start what the workload needs; end it with the `with` block. The caller removes the directory."""
    for name in ("trees", "homes", "scratch", "server"):
        (directory / name).mkdir()
    with ExitStack() as stack:
        if workload.listing_only:
            listing = stack.enter_context(ListingServer(workload.data, BUCKET, f"{PREFIX}/"))
            address = Address(listing.endpoint_url, "any", "any")
            yield Stage(
                workload,
                directory,
                address,
                None,
                lambda _, *put: listing.put(*put),
                listing,
                None,
                None,
            )
            return
        server = stack.enter_context(seaweedfs(directory / "server"))
        address = Address(server.endpoint_url, server.access_key, server.secret_key)
        store = stack.enter_context(open_store(address))
        relay = None
        if workload.delay_ms or workload.max_bandwidth:
            port = urlsplit(address.endpoint_url).port
            assert port is not None
            relay = stack.enter_context(Relay(port, workload.delay_ms / 1000))
            address = replace(address, endpoint_url=f"http://127.0.0.1:{relay.port}")
        yield Stage(workload, directory, address, store, store.put, None, server.pid, relay)
