"""Write completions, manual pages and schemas: `python -m tools.generate`, from the top of the source."""

from __future__ import annotations

from pathlib import Path

from tools.generate.files import made

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write every file whose content has changed, and name it."""
    for name, text in made(ROOT).items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(name)


if __name__ == "__main__":
    main()
