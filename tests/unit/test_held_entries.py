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


def test_acknowledgements_that_are_sent_before_the_first_is_answered() -> None:
    held = HeldEntries()
    assert held.begun(("1-1", "1-9")) == ("1-1", "1-9")
    assert held.begun(("1-10", "1-20")) == ("1-1", "1-20")
    assert not held  # as far as is known
    held.tried(("1-1", "1-9"), NOTHING)
    assert not held
    assert held.sent == ("1-1", "1-20")
    held.tried(("1-1", "1-20"), ("1-15", "1-20"))
    assert held.span == held.sent == ("1-15", "1-20")
    held.begun(("1-21", "1-30"))
    held.tried(("1-15", "1-30"), NOTHING)
    assert (held.span, held.sent) == (NOTHING, NOTHING)


def test_when_they_are_looked_at_one_by_one() -> None:
    held = HeldEntries()
    for number in range(3):
        held.tried(held.begun((f"{number}1-0", f"{number}9-0")), ("01-0", f"{number}9-0"))
        held.trimmed(100, False, 0, "")
    assert (held.count, held.untidy) == (300, True)
    held.tried(held.span, held.span)
    held.trimmed(100, False, 200, "15-0")
    assert (held.count, held.cursor, held.untidy) == (200, "15-0", True)
    held.trimmed(0, False, 200, "")
    assert (held.count, held.cursor, held.untidy) == (0, "", False)
    held.trimmed(50, True, 0, "")
    assert (held.count, held.untidy) == (50, True)
    held.tried(held.span, NOTHING)
    assert (held.count, held.untidy) == (0, False)
