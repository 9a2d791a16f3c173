"""The generated parts of ``docs/sources``: which kind gives which guarantee, and every option.

``PYTHONPATH=include:tests python -m sources.contract.docs`` writes them anew.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from sources.contract import test_contract
from sources.contract.peer import Peer
from sources.contract.peers import PEERS
from tidegate.pipeline.kinds import Kind, kinds
from tidegate.pipeline.models import Stream

FOLDER = Path(__file__).parents[3] / "docs" / "sources"
_MARK = "<!-- {0} -->"
_END = "<!-- end of {0} -->"


def guarantees() -> dict[str, str]:
    """Name of the test without ``test_`` → what it asks for, in the suite's order."""
    return {
        name.removeprefix("test_"): str(inspect.getdoc(test)).partition("\n")[0]
        for name, test in vars(test_contract).items()
        if name.startswith("test_")
    }


def table(peers: list[type[Peer]]) -> str:
    """Markdown: a line for each guarantee, a column for each system, and the notes."""
    titles = [peer.title for peer in peers]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + ":-:|" * len(titles)]
    notes: dict[str, int] = {}
    for name, text in guarantees().items():
        cells = []
        for peer in peers:
            why = peer.cannot.get(name)
            number = notes.setdefault(why, len(notes) + 1) if why else 0
            cells.append(f"– [{number}]" if why else "✓")
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{number}. {why[0].upper()}{why[1:]}." for why, number in notes.items()]
    return "\n".join(lines)


def options(kind: Kind) -> str:
    """Markdown: what a stream of *kind* says beside what all streams may say."""
    common = Stream.model_fields.keys()
    schema = kind.stream.model_json_schema(by_alias=True)
    lines = ["| option | what it says | type | default |", "|---|---|---|---|"]
    for name, about in schema["properties"].items():
        if name not in common:
            default = kind.stream.model_fields[name].get_default(call_default_factory=True)
            required = name in schema.get("required", ())
            shown = "required" if required else _shown(default)
            kinds_of = _type(about, schema.get("$defs", {}))
            text = about.get("description", "").replace("|", "\\|")
            lines.append(f"| `{name}` | {text} | {kinds_of} | {shown} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None or value in ((), {}):
        return ""
    if hasattr(value, "model_dump"):
        return "see there"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(about: dict[str, Any], known: dict[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "$ref" in about:
        name = about["$ref"].rsplit("/", 1)[1]
        inner = known[name].get("properties", {})
        return f"mapping: {', '.join(f'`{key}`' for key in inner)}" if inner else "mapping"
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if "anyOf" in about:
        found = [_type(one, known) for one in about["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(found))
    words = {"string": "text", "integer": "number", "boolean": "true, false", "object": "mapping"}
    return words.get(str(about.get("type")), str(about.get("type", "any")))


def filled(text: str, mark: str, content: str) -> str:
    """*text* with *content* behind its mark, in the place of what was there."""
    begin, end = _MARK.format(mark), _END.format(mark)
    text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", begin, text, flags=re.DOTALL)
    return text.replace(begin, f"{begin}\n{content}\n{end}")


def pages() -> dict[Path, str]:
    """Every page that has a generated part, as it must be."""
    found = {FOLDER / "README.md": filled(_read("README.md"), "guarantees", table(PEERS))}
    for kind in kinds().values():
        name = f"{kind.name}.md"
        found[FOLDER / name] = filled(_read(name), "options", options(kind))
    return found


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
