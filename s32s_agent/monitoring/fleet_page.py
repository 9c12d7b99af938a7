"""Write the fleet as one HTML page that needs nothing else: no network, no server, no cookie.

Every text comes from reports that are not trusted, so every text is escaped, and the page allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from s32s_agent.monitoring.fleet import Fleet, Server, age_text, note, rollouts_of, title
from s32s_agent.state.files import replace_file

_REMEDY = "name a file in a directory that exists and that you may write"


def write_page(fleet: Fleet, path: Path) -> None:
    """Replace a file with the page, readable by everyone.

    Raises:
        DirectoryError: the page cannot be written; the old page stays.
    """
    replace_file(path, fleet_page(fleet).encode(), mode=0o644, remedy=_REMEDY)


def fleet_page(fleet: Fleet) -> str:
    """Return the page as HTML."""
    template = (
        files("s32s_agent.monitoring").joinpath("fleet.html").read_text(encoding="utf-8")
    )
    tally = (
        f'<button type="button" class="{name}" aria-pressed="false">{count} {name}</button>'
        for name, count in fleet.tally().items()
    )
    return Template(template).substitute(
        policy=_policy(template),
        title=_text(title(fleet)),
        generated=_text(f"{fleet.now:%Y-%m-%d %H:%M:%S} UTC"),
        tally="".join(tally),
        rollouts=_rollouts(fleet),
        rows="\n".join(_row(server) for server in fleet.servers),
    )


def _policy(template: str) -> str:
    """Return a policy that allows the template's own style and script, by their digests, and nothing else."""
    digests = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in re.findall(r"<(style|script)>(.*?)</", template, re.DOTALL)
    }
    allowed = "; ".join(f"{kind}-src 'sha256-{digest}'" for kind, digest in digests.items())
    return f"default-src 'none'; base-uri 'none'; form-action 'none'; {allowed}"


def _rollouts(fleet: Fleet) -> str:
    """Return a bar for each channel of each mapping; nothing where no mapping has snapshots."""
    rows = []
    for each in rollouts_of(fleet):
        pinned = f", {each.pinned:,} pinned" if each.pinned else ""
        label = f"{each.mapping}, {each.channel}"
        have = f"{each.at:,} of {each.total:,} ({each.percent} %) have {each.snapshot}{pinned}"
        rows.append(
            f"<li><b>{_text(label)}</b>"
            f'<progress aria-label="{_text(label)}" max="{each.total}" value="{each.at}"></progress>'
            f"<span>{_text(have)}</span></li>"
        )
    return f'<ul class="rollouts">{"".join(rows)}</ul>' if rows else ""


def _row(server: Server) -> str:
    health = server.health.name.lower()
    what = note(server)
    in_sync = server.in_sync / server.mappings if server.mappings else 0
    never = 10**9
    cells = (
        _cell("Server", server.name, server.name.lower()),
        _cell("State", health, str(server.health.value), mark=True),
        _cell("Role", server.role, server.role),
        _cell("In sync", f"{server.in_sync}/{server.mappings}", f"{in_sync:.4f}"),
        _cell(
            "Last run",
            age_text(server.age),
            _sorted_number(server.age, never),
            server.finished,
        ),
        _cell("Failures", str(server.consecutive_failures), str(server.consecutive_failures)),
        _cell("Version", server.version, server.version),
        _cell("What", what, what.lower()),
    )
    return f'<tr class="{health}">{"".join(cells)}</tr>'


def _sorted_number(value: float | None, missing: int) -> str:
    return f"{missing if value is None else value:.0f}"


def _cell(label: str, text: str, key: str, title: str = "", *, mark: bool = False) -> str:
    shown = f"<b>{_text(text)}</b>" if mark else _text(text)
    hint = f' title="{_text(title)}"' if title else ""
    return f'<td data-label="{label}" data-key="{_text(key)}"{hint}>{shown}</td>'


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
