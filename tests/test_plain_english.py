"""Plain English, as far as a rule can check it: first words of modules, words to avoid in messages and pages."""

import io
import re
import token
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from module_graph import modules

ROOT = Path(__file__).parents[1]
RIDDLES = r"(Everything|How|Is|What|When|Where|Whether|Which|Who)\b"
PRIVATE = re.compile(
    r"\b(anew|at hand|beside|for want of|goes on with|going on with|hangs? on|in silence|is decided|stands in)\b"
    r"|(?<![Tt]here )\bis no (?!more\b|less\b|\w+er\b)|(?<=[:;] )wanted\b"
)
"""Instead: `again`, `available`, `next to`, `depends on`, `is not a`, `expected`, `continues`, `significant`."""

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted(path for room in ("how-to", "explanation", "reference") for path in (ROOT / "docs" / room).glob("*.md"))


def texts(path: Path) -> Iterator[str]:
    """Yield the string literals of a module that are no docstrings."""
    before = token.NEWLINE
    for found in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if found.type == token.STRING and before not in (token.NEWLINE, token.INDENT, token.DEDENT):
            yield re.sub(r"\{[^{}]*\}", "{}", found.string)
        if found.type not in (tokenize.NL, tokenize.COMMENT):
            before = found.type


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_says_first_what_it_is(name: str) -> None:
    first = modules()[name].read_text().lstrip('"').partition("\n")[0]
    assert not re.match(RIDDLES, first)


@pytest.mark.parametrize("name", sorted(modules()))
def test_messages_use_words_that_everybody_knows(name: str) -> None:
    assert [text for text in texts(modules()[name]) if PRIVATE.search(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_words_that_everybody_knows(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert [line for line in prose.splitlines() if PRIVATE.search(line)] == []


def test_the_rule_finds_what_it_is_for() -> None:
    found = ["made anew", "x: it is no file", "9; wanted 8", "it hangs on it"]
    assert all(PRIVATE.search(text) for text in found)
    assert not any(
        PRIVATE.search(text) for text in ("there is no run", "is no more than", "made again", "x: expected 8")
    )
