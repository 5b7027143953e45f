"""A report as one web page: no scripts, nothing from a network, light and dark, phone and print."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from lstn.report.table import Table


def whole_page(title: str, where: str, sections: Iterable[str]) -> str:
    """Return the page: its title, a line on what ran where, and sections of HTML."""
    style = (files("lstn.report") / "page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="generator" content="lstn">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title, quote=False)}</title><style>{style}</style></head><body><main>"
        f'<h1>{escape(title, quote=False)}</h1><p class="where">{escape(where)}</p>'
        f"{''.join(sections)}</main></body></html>\n"
    )


def section(title: str, body: str) -> str:
    """Put a heading above HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table_section(table: Table) -> str:
    """Draw a table as a section of its own, which scrolls sideways where it is too wide."""
    return section(table.title, table_body(table))


def table_body(table: Table) -> str:
    """Draw a table and its note, without its title; of a table without rows, its note alone."""

    def cells(row: Iterable[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=word' if index < table.words else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells(table.columns, 'th')}</tr></thead>"
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    drawn = f'<div class="wide" tabindex="0"><table>{head}<tbody>{body}</tbody></table></div>' if table.rows else ""
    return f"{drawn}{note}"


def figure(picture: str, caption: str) -> str:
    """Put a caption below a picture."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def strip(source: str, caption: str) -> str:
    """Show a wide picture, which scrolls sideways where there is little room."""
    return figure(f'<div class="wide strip" tabindex="0"><img src="{source}" alt="{escape(caption)}"></div>', caption)


def bullets(sentences: Iterable[str]) -> str:
    """List sentences."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
