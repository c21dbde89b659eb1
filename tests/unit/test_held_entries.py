"""What a consumer remembers of entries that stay for other groups: between which IDs they lie."""

from __future__ import annotations

from fluxa_fast.flows.consume.held_entries import NOTHING, HeldEntries


def test_the_answer_to_what_was_asked() -> None:
    held = HeldEntries()
    assert not held
    held.tried(NOTHING, ("1-1", "1-9"))
    assert held.span == ("1-1", "1-9")
    assert held
    held.tried(("1-1", "1-9"), ("1-5", "1-9"))
    assert held.span == ("1-5", "1-9")
    held.tried(("1-5", "1-9"), NOTHING)
    assert not held


def test_answers_that_cross() -> None:
    """Two acknowledgements were sent with the same span: the second answer does not undo the first."""
    held = HeldEntries()
    held.tried(NOTHING, ("1-10", "1-20"))
    held.tried(NOTHING, ("1-9", "1-12"))
    assert held.span == ("1-9", "1-20")
    held.tried(NOTHING, NOTHING)
    assert held.span == ("1-9", "1-20")
