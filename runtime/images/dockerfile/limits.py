"""What a Dockerfile may cost before it is refused. Pure numbers, far above what real ones have.

Each bounds a product: lines by their length, instructions by the variables they copy, one expansion and
all of them together. Docker's own reader ends at lines of 64 KiB (bufio.MaxScanTokenSize).
"""

from __future__ import annotations

FILE_BYTES = 2 * 1024 * 1024
LINE_CHARACTERS = 64 * 1024 - 1  # one physical line
STATEMENT_CHARACTERS = 256 * 1024  # an instruction with its continuation lines
CONTINUED_LINES = 10_000  # of one instruction
INSTRUCTIONS = 4000
STAGES = 500
WORDS = 10_000  # of one instruction
VARIABLES = 1000  # ENV and ARG in force at one time
PORTS = 10_000  # as many as an image's config may have (images.config.MAX_ITEMS)
VALUE_CHARACTERS = 128 * 1024  # MAX_ARG_STRLEN of the kernel: no process could be given more in one string
EXPANDED_CHARACTERS = 16 * 1024 * 1024  # of a whole plan, those that are thrown away included
MATCHED_PER_CHARACTER = 16  # steps of a pattern that cost as much as one character: 0.03 µs here
PORT_CHARACTERS = 20  # what a port costs of the same
LABELS = 1000
VOLUMES = 128  # images.config.MAX_VOLUMES
DEPTH = 32  # `${a:-${b:-…}}`
PATTERN_CHARACTERS = 1024  # of `${v#pattern}`, of a COPY pattern and of a line of .dockerignore
IGNORE_PATTERNS = 5000
PROBLEMS = 50  # told at once
MISTAKES = 200  # then reading ends
GUESSES = 50  # words that a message tries to mend, and words each is compared with
