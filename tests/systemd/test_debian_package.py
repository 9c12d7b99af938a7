"""The Debian package, built by its script, in a Debian that holds nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import ROOT, blocks, section_of

TOOLS = ("debootstrap", "dpkg-buildpackage", "dh", "dh_python3", "apt-get")
MISSING = [each for each in TOOLS if shutil.which(each) is None]
NEEDED = "systemd,python3,ca-certificates,adduser,libgcc-s1"
"""What the package depends on; all else is Debian's smallest."""
KEPT = "/srv/www/site/index.html"
pytestmark = [
    pytest.mark.machine,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """The package, built as docs/use/install.md describes; removed after the tests."""
    build, install = blocks(section_of("docs/use/install.md", "Debian package"))[
        0
    ].splitlines()[1:]
    there = set(ROOT.glob("dist/*.deb"))
    subprocess.run(build, shell=True, cwd=ROOT, check=True, capture_output=True)
    found = sorted(ROOT.glob(install.split()[-1].removeprefix("./")))
    assert len(found) == 1
    yield found[0]
    if not there:
        found[0].unlink()


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian of the release that this computer has, from where this computer has it."""
    place = tmp_path_factory.mktemp("debian") / "root"
    target = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE)",
        "Created-By: Packages",
    ]
    listed = subprocess.run(
        target, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    mirror, release = next(each.split() for each in listed if "-" not in each.split()[1])
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={NEEDED}",
        release,
        str(place),
        mirror,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    yield place
    shutil.rmtree(place)


def inside(debian: Path, command: str) -> str:
    """Run a command in the Debian, with its own /proc, which ends with it; it must succeed."""
    enter = 'mount -t proc proc "$0/proc"; exec chroot "$0" /bin/sh -euc "$1"'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "/bin/sh",
            "-euc",
            enter,
            str(debian),
            command,
        ],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def files(debian: Path) -> set[str]:
    """List everything that a package may add or remove."""
    find = "find / -xdev -not -path '/proc/*' -not -path '/var/lib/dpkg/*' -not -path '/var/log/*'"
    return set(
        inside(
            debian, f"{find} -not -path '/var/cache/*' -not -path '/tmp/*' -not -path '/run/*'"
        ).splitlines()
    )


def test_the_package_can_be_installed_used_and_purged(package: Path, debian: Path) -> None:
    """It installs without a network, runs, has its user and units, and a purge leaves only the mirrored files.

    Neither an enabled instance nor a user that cannot be removed leaves it half removed.
    """
    before = files(debian)
    users = inside(debian, "cut -d: -f1 /etc/passwd /etc/group")
    shutil.copy(package, debian / "tmp" / "s32s-agent.deb")
    inside(debian, "dpkg --install /tmp/s32s-agent.deb")

    version = re.findall(r"s32s-agent_(.*?)-", package.name)[0]
    assert inside(debian, "s32s-agent --version") == f"s32s-agent {version}\n"
    assert "nologin" in inside(debian, "getent passwd s32s-agent")
    assert inside(debian, "stat -c '%U %a' /etc/s32s-agent /var/lib/s32s-agent") == (
        "root 750\ns32s-agent 750\n"
    )
    assert "Failed" not in inside(
        debian, "systemd-analyze verify --man=no s32s-agent.service 2>&1"
    )
    assert inside(debian, "ls /etc/systemd/system/*.wants | grep s32s || true") == ""
    assert inside(debian, "find /usr/lib/s32s-agent/s32s_agent -name 'cli*.pyc'") != ""
    bare = "su -s /bin/sh s32s-agent -c 's32s-agent --once; echo $?' 2>&1"
    assert inside(debian, bare).splitlines()[-1] == "78"

    inside(debian, f"mkdir -p {Path(KEPT).parent} /etc/credstore; echo kept > {KEPT}")
    inside(
        debian,
        "echo 'role: slave' > /etc/s32s-agent/config.yaml; touch /etc/credstore/s32s-agent.aws",
    )
    inside(debian, "touch /var/lib/s32s-agent/index.db /etc/default/s32s-agent.web")
    inside(debian, "systemctl enable s32s-agent.timer s32s-agent@web.timer")
    inside(debian, "systemctl enable s32s-agent-reload@nginx.path")
    inside(debian, "mkdir /etc/systemd/system/s32s-agent@web.service.d")
    inside(debian, "dpkg --remove s32s-agent")
    assert inside(debian, "find /etc/systemd -name '*s32s-agent*@*' -type l") == ""
    # As on a machine where somebody is still logged in as the user.
    stand_ins = "/usr/local/sbin/deluser /usr/local/sbin/userdel"
    inside(debian, f"for each in {stand_ins}; do ln -s /bin/false $each; done")
    inside(debian, "PATH=/usr/local/sbin:$PATH dpkg --purge s32s-agent")
    inside(debian, f"rm {stand_ins}; userdel s32s-agent")
    parents = {str(each) for each in Path(KEPT).parents} | {"/etc/credstore"}
    assert files(debian) - before - parents == {KEPT}
    assert inside(debian, "cut -d: -f1 /etc/passwd /etc/group") == users
