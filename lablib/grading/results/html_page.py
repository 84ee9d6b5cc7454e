"""A page without scripts and network access, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { text-align: left; padding: .2em .8em .2em 0;
  vertical-align: top } td.n, th.n { text-align: right }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2em 0 .2em 1.4em }
.answer { white-space: pre-wrap; overflow-wrap: anywhere; border-left: .2em solid #888;
  padding-left: 1em }
ul { list-style: none; padding-left: 1em; margin: .2em 0 }
.wrong { color: #cc5500 } .right { color: #00885f } .aside { opacity: .75 }
@media (prefers-color-scheme: dark) { .wrong { color: #ff9d5c } .right { color: #4fd1b0 } }
"""
# A page with a learner's text must not execute anything, whatever the text is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, body: str) -> str:
    """Return a whole page; `title` is text, `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{text(title)}</h1>\n{body}\n</body></html>\n"
    )


def text(words: object, most: int = 2000, keep: str = "\n") -> str:
    """Return any text as HTML that only shows it.

    keep   invisible characters that stay

    >>> text("<b>\\x1b[31m")
    '&lt;b&gt;\\ufffd[31m'
    """
    words = begins(str(words), most)
    # Characters that move the cursor or change the direction of reading could mislead readers.
    plain = "".join(c if c.isprintable() or c in keep else "\ufffd" for c in words)
    return escape(plain)


def begins(words: str, most: int) -> str:
    """Return a text whole, or only its beginning if it is longer."""
    return words if len(words) <= most else words[:most] + " ..."


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of texts; the columns in `numbers` are aligned to the right."""

    def line(tag, cells):
        kinds = [' class="n"' * (n in numbers) for n in range(len(cells))]
        pairs = zip(kinds, map(text, cells), strict=True)
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in pairs)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>{line('th', head)}\n{body}</table>"
