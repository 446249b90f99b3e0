"""When a terminal waits for those who follow it."""

from ukemi.actors.terminal.brake import Brake


def test_output_waits_only_while_all_who_follow_are_behind() -> None:
    brake = Brake()
    assert brake.left(0, 0.0) == brake.left(2, 0.0) == 0
    brake.pull("one", until=1.0)
    assert brake.left(1, 0.25) == 0.75
    assert brake.left(2, 0.25) == 0
    brake.pull("two", until=0.5)
    assert brake.left(2, 0.25) == 0.25
    assert brake.left(2, 0.75) == 0
    assert brake.left(1, 0.75) == 0.25


def test_who_has_caught_up_lets_go_at_once() -> None:
    brake = Brake()
    brake.pull("one", until=1.0)
    brake.pull("one", until=0.0)
    assert brake.left(1, 0.0) == 0


def test_who_does_not_follow_any_more_is_waited_for_no_longer_than_it_has_asked() -> None:
    brake = Brake()
    brake.pull("gone", until=1.0)
    assert brake.left(0, 0.5) == 0.5
    assert brake.left(0, 1.0) == 0
