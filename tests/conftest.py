import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser import Browser

# Tests run side by side on few cores: a second torch thread waits for a core more than it works. Read at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What runs in the background of a shell inherits that Ctrl-C is ignored, and some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
with suppress(ImportError):  # a borrowed GPU machine may lack it, and its tests don't need it
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "lstn",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=bool(os.environ.get("CI")),  # a change lands for what it does, not for an example drawn that day
    )
    settings.load_profile("lstn")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the cache of whoever runs it."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One for each file that looks at pages."""
    from browser import open_browser

    with open_browser() as opened:
        yield opened


@pytest.fixture(autouse=True, scope="module")
def no_ray() -> Iterator[None]:
    """Ray stays out of this process, which it would change for good, and sometimes end; see runtime/ray_apart.py."""
    yield
    assert "ray" not in sys.modules
