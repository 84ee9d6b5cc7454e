"""Show a check's result as text and as HTML; everything that came from a rank is escaped."""

from __future__ import annotations

from html import escape

from lablib.errors import NOT_ATTEMPTED

_RIGHT, _WRONG = ("✓", "holds"), ("✗", "does not hold")
_GREEN, _RED = "#00885f", "#cc5500"  # legible on white and on black
_RULE = (
    "Half of an answer's points are for its single claims; you get the other half if all claims "
    "hold."
)


def as_text(result) -> str:
    """Format the result for a terminal, one line for each claim."""
    lines = [_headline(result)]
    for one in _cases_to_show(result) if result.attempted else ():
        lines.append(f"  {one.case.name}")
        if one.seen.problem:
            lines.append(f"    {_WRONG[0]} {_indent(one.seen.problem)}")
        for claim in one.claims:
            mark = (_RIGHT if claim.holds else _WRONG)[0]
            lines.append(f"    {mark} {claim.text}{_indent(_details(claim))}")
    lines += [f"  {_RULE}"] * _in_part(result)
    if result.attempted and result.hint:
        lines.append(f"  Hint: {result.hint}")
    return "\n".join(lines)


def as_html(result) -> str:
    """Format the result for a notebook."""
    head = f"<b>{escape(_headline(result))}</b>"
    if not result.attempted:
        return f"<p>{head}</p>"
    body = "".join(_case_html(one) for one in _cases_to_show(result))
    hint = f"<details><summary>Hint</summary>{escape(result.hint)}</details>" * bool(result.hint)
    rule = f'<div style="margin-top: .4em">{_RULE}</div>' * _in_part(result)
    return f'<div style="max-width: 60em">{head}{body}{rule}{hint}</div>'


def _cases_to_show(result):
    """Yield the cases to show: if several have the same problem, only the first of them."""
    said = set()
    for one in result.tried:
        if one.seen.problem not in said:
            yield one
        said.update(filter(None, [one.seen.problem]))


def _headline(result):
    number = result.exercise.number
    title = result.exercise.title
    if not result.attempted:
        return f"Exercise {number}: {NOT_ATTEMPTED}"
    points = f"{result.points:g} of {result.of:g} points"
    return f"Exercise {number} · {title}: {points}" + (" 🎉" if result.points == result.of else "")


def _in_part(result):
    return 0 < result.points < result.of


def _case_html(one):
    rows = "".join(map(_claim_html, one.claims))
    if one.seen.problem:
        rows += f'<li style="list-style: none">{_mark(False)} {_pre(one.seen.problem)}</li>'
    return (
        f'<div style="margin-top: .4em">{escape(one.case.name)}</div>'
        f'<ul style="margin: 0; padding-left: 1em">{rows}</ul>'
    )


def _claim_html(claim):
    details = _details(claim)
    return (
        f'<li style="list-style: none">{_mark(claim.holds)} {escape(claim.text)}'
        f"{_pre(details) if details else ''}</li>"
    )


def _details(claim):
    if claim.holds:
        return ""
    where = f" on rank {claim.rank}" if claim.rank is not None else ""
    parts = [f"expected{where}: {claim.expected}"] if claim.expected else []
    parts += [f"saw{where}: {claim.saw}"] if claim.saw else []
    return "".join("\n" + part for part in parts)


def _mark(holds):
    sign, words = _RIGHT if holds else _WRONG
    color = _GREEN if holds else _RED
    return f'<span title="{words}" style="color: {color}; font-weight: bold">{sign}</span>'


def _pre(text):
    return (
        f'<pre style="margin: 0 0 .3em 1.4em; white-space: pre-wrap">{escape(text.strip())}</pre>'
    )


def _indent(text):
    return text.replace("\n", "\n      ")
