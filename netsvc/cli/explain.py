"""``netsvc explain FILE URL``: what a URL means to a configuration, step by step; nothing is started or asked."""

from __future__ import annotations

import argparse
import json
import sys

from netsvc.config import report
from netsvc.config.load import load
from netsvc.errors import BadValue, ConfigError, printable
from netsvc.registry import kinds
from netsvc.services.http.explain import Asked, Explanation, ask, explain, listens_for


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="the INI file")
    parser.add_argument("url", metavar="URL", help="an http or https URL, as a browser would be given it")
    parser.add_argument("--method", default="GET", metavar="METHOD", help="the method of the request (GET)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people, or one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print; 0, or 1 when the configuration is bad or has no such service, or 2 when the URL is none."""
    try:
        asked = ask(arguments.url, arguments.method)
    except BadValue as bad:
        print(printable(f"netsvc explain: {bad.message}"), file=sys.stderr)
        return 2
    try:
        plan = load(arguments.file, kinds())
    except ConfigError as error:
        print("\n".join(report.fault_lines(error.faults)), file=sys.stderr)
        return 1
    sections = [one for one in plan.instances if one.kind.word == "http"]
    there = [one for one in sections if listens_for(one.settings, asked)]
    if not sections:
        print(printable(f"netsvc explain: {arguments.file} has no [http] section"), file=sys.stderr)
        return 1
    told = {one.name: explain(one.settings, asked) for one in there or sections}
    if arguments.format == "json":
        found = [{"section": name, "listens": bool(there), **one.facts} for name, one in told.items()]
        print(json.dumps({"url": arguments.url, "method": arguments.method, "sections": found}, indent=2))
    else:
        print("\n".join(map(printable, _lines(arguments.url, asked, told, bool(there)))))
    return 0


def _lines(url: str, asked: Asked, told: dict[str, Explanation], listens: bool) -> list[str]:
    lines = [url]
    if not listens:
        lines.append(f"No section listens for {asked.scheme} on port {asked.port}; to each it would mean:")
    for name, one in told.items():
        steps = [("section", f"[{name}]"), *one.steps]
        width = max(len(word) for word, _ in steps)
        lines += [f"  {word:{width}}  {text}" for word, text in steps]
        lines.append("")
    return lines[:-1]
