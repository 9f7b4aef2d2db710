"""`python -m agent.cli`: the same as the launcher. `agent --detach` starts the agent this way."""

import sys

from agent.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
