import os

# Tests run side by side on few cores: a second torch thread waits for a core more than it works. Read at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
