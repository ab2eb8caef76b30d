"""A store that does in seconds what takes others hours: flushes its index of ids, merges files, vacuums and
trims its logs all the time. `python -m eager_store store …`, for tests that kill it while it does.
"""

import os
import sys

from modelwarden_server import __main__ as server
from modelwarden_server.query.performance import following
from modelwarden_server.store import delta, id_index, maintenance, upkeep


def main() -> int:
    """Run the server's command line with small numbers."""
    id_index.FLUSH_VERSIONS = 3
    id_index.FLUSH_ROWS = 500
    upkeep.FEWEST = 4
    delta.CHECKPOINT_EVERY = 5
    following.DEFAULT_PACE = following.Pace(persist_seconds=0.05, persist_entries=100)
    maintenance.DEFAULT_PACE = maintenance.MaintenancePace(look=0.05, grace=0.3, log_seconds=0.0)
    if os.environ.get("MW_CARELESS"):  # to see that the recorder of the disk would notice
        os.fdatasync = lambda _fd: None
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
