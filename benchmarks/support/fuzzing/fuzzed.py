"""Process that fuzzes one target, guided by coverage: `python -m benchmarks.support.fuzzing.fuzzed TARGET [WORDS]`.

WORDS are libFuzzer's own. atheris counts which lines and branches of lstn ran, and libFuzzer changes the bytes so that
more do. The process ends by itself.
"""

import sys

import atheris


def main(target: str, words: list[str]) -> None:
    """Import what the target reads with, watched, and fuzz it."""
    with atheris.instrument_imports(include=["lstn", "uvicorn.protocols"]):
        from benchmarks.support.fuzzing.request_targets import REQUESTS
        from benchmarks.support.fuzzing.targets import READERS
    read = (READERS | REQUESTS)[target].read
    atheris.Setup([sys.argv[0], *words], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
