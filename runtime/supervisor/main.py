"""The supervisor as a program: `python -I -S main.py --socket PATH --run DIR …`, started by `client`.

Short, since what is run as a program is compiled at each start, and the memory for that stays with it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from runtime.supervisor.serving import main

    sys.exit(main(sys.argv[1:]))
