import os
import signal

import pytest

# Tests run side by side on few cores: a second torch thread waits for a core more than it works. Read at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What runs in the background of a shell inherits that Ctrl-C is ignored, and some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the cache of whoever runs it."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
