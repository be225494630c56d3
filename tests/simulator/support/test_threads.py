"""Threads of our own: how many, and that torch's number is what it was afterwards, whoever leaves last."""

import threading

import pytest
import torch

from quadsim.simulator.support.threads import in_threads, own_threads


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_operations_within_have_one_thread_and_ours_are_as_many_as_torch_had():
    meeting = threading.Barrier(3, timeout=10)  # passed only if three work at once

    def work(item):
        meeting.wait()
        return item, torch.get_num_threads()

    with own_threads(), own_threads():
        assert torch.get_num_threads() == 1
        assert in_threads(work, range(3)) == [(0, 1), (1, 1), (2, 1)]
    assert torch.get_num_threads() == 3


def test_threads_of_ours_start_no_others():
    def inner(item):
        return threading.get_ident()

    def outer(item):
        with own_threads():
            return set(in_threads(inner, range(8))) == {threading.get_ident()}

    with own_threads():
        assert in_threads(outer, range(4)) == [True] * 4


def test_two_callers_at_once_leave_the_number_as_it_was():
    entered, go_on, seen = threading.Event(), threading.Event(), []

    def second():
        with own_threads():
            entered.set()
            go_on.wait(10)
            seen.append(len(set(in_threads(lambda _: meeting.wait() is None or threading.get_ident(), range(3)))))
        seen.append(torch.get_num_threads())

    meeting = threading.Barrier(3, timeout=10)
    with own_threads():
        other = threading.Thread(target=second)
        other.start()
        assert entered.wait(10)
    go_on.set()  # the one that came second leaves last
    other.join()
    assert seen == [3, 3]
    fresh = []
    new = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert fresh == [3]


def test_an_error_leaves_the_number_as_it_was():
    with pytest.raises(RuntimeError, match="within"), own_threads():
        in_threads(lambda item: (_ for _ in ()).throw(RuntimeError("within")), range(2))
    assert torch.get_num_threads() == 3
