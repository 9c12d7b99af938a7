#!/usr/bin/env bash
# One would guess: structlog imports rich when it is to draw a traceback on a terminal.
# What happens: "import structlog" imports rich, its console and pygments as soon as they are installed, whatever renderer
# is used; a program that logs JSON to a file pays for it at every start.
# Why it matters: a tool that runs every minute gets slower by a package that another dependency brought, and
# a benchmark in a development environment shows another program than users have.
# Versions: structlog 26.1.0, rich 15.0.0 (PyPI). Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install structlog==26.1.0
seen() { "$python" -c 'import structlog, sys; print(sorted({"rich.console", "pygments"} & set(sys.modules)))'; }
expect "without rich" "$(seen)" "[]"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rich==15.0.0 2>"$folder/pip.log" || { cat "$folder/pip.log"; exit 2; }
expect "with rich" "$(seen)" "['pygments', 'rich.console']"
conclude
