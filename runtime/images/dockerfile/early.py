"""What is wrong with an instruction whatever its variables are, told when the file is read. Pure.

A plan would find it, too, but only for the stages that a target needs, and only once the bases are there.
"""

from __future__ import annotations

from runtime.images.dockerfile.expand_instruction import Budget, Words, expand_instruction
from runtime.images.dockerfile.image_config import ImageConfig, apply
from runtime.images.dockerfile.instructions import Expose, Instruction, Transfer
from runtime.images.dockerfile.ports import count_ports
from runtime.images.dockerfile.steps import FromContext
from runtime.images.dockerfile.transfers import transfer_action


def check_early(instruction: Instruction, escape: str) -> None:
    """`Mistake`; nothing for an instruction with a variable in it."""
    documents = instruction.documents if isinstance(instruction, Transfer) else ()
    if "$" in instruction.place.text or any("$" in one.content for one in documents):
        return
    expanded = expand_instruction(instruction, Words({}, escape, Budget()))
    if isinstance(expanded, Expose):
        count_ports(expanded.ports)
        return
    apply(ImageConfig(), expanded)
    if isinstance(expanded, Transfer):
        transfer_action(expanded, "/", {expanded.origin: FromContext()})
