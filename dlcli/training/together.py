"""Many courses driven at once: runs of one shape take their steps as one stack, others take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from torch import nn

from dlcli.protocols import Optimizer
from dlcli.training.ensemble import Stack, agrees, can_stack, shape
from dlcli.training.loop import Course, Leg, advance, gather
from dlcli.training.references import reference_run
from dlcli.training.room import room
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.step import take_step

T = TypeVar("T")


class Member(Generic[T]):
    """A course under way: the leg that it asks for, or how it has ended."""

    def __init__(self, course: Course[T]):
        self.course = course
        self.leg: Leg | None = None
        self.value: T | None = None
        self.fault: BaseException | None = None
        self.go()

    def go(self, fault: BaseException | None = None) -> None:
        """On to the next leg, after that of before, or after what it has raised."""
        self.leg = None
        try:
            self.leg = next(self.course) if fault is None else self.course.throw(fault)
        except StopIteration as end:
            self.value = end.value
        except BaseException as raised:
            self.fault = raised


class Group:
    """Members that move together: a stack, or one of them alone."""

    def __init__(self, members: Sequence[Member], stack: Stack | None = None):
        self.members, self.stack = members, stack

    def go(self) -> None:
        """As many steps as the first of them asks for, then each sees to what is due. A run that fails is told so."""
        steps, stop = min(member.leg.steps for member in self.members), self.members[0].leg.stop
        faults: dict[int, BaseException] = {}
        try:
            if self.stack is None:
                advance(*self.members[0].leg)
            elif steps:
                faults |= self.stack.advance(steps, stop)
        except BaseException as fault:
            faults = dict.fromkeys(range(len(self.members)), fault)
        asked, late = stop.save_now, False
        for row, member in enumerate(self.members):
            late |= stop.save_now and not asked  # a signal that came while another run was served is for all of them
            stop.save_now = asked
            member.go(faults.get(row))
        stop.save_now = late


def together(courses: Iterable[Course[T]], room: Callable[[Run], int]) -> list[T]:
    """What the courses return, in their order. room: how many runs like this one may be under way at once.

    A course whose run fails has that thrown in and may go on; what a course raises is raised when all others that are
    under way have ended, and no further one is begun.
    """
    waiting, members, groups = iter(courses), [], []
    arranged: list[Member] = []
    stacked: dict[Member, bool] = {}  # whether its gradients were found to be the same as alone
    rooms: dict[object, int] = {}  # by shape
    while True:
        under_way = [member for member in members if member.leg]
        while not any(member.fault for member in members) and len(under_way) < (
            room_of(under_way[0].leg.run, room, rooms) if under_way else 1
        ):
            found = [Member(course) for course in islice(waiting, 1)]
            if not found:
                break
            members += found
            under_way += [member for member in found if member.leg]
        if under_way != arranged:
            share_data([member.leg.run for member in under_way])
            arranged, groups = under_way, arrange(under_way, stacked)
        if not under_way:
            break
        for group in groups:
            group.go()
    for member in members:
        if member.fault is not None:
            raise member.fault
    return [member.value for member in members]


def room_of(run: Run, room: Callable[[Run], int], known: dict[object, int]) -> int:
    kind = shape(run)
    if kind not in known:
        known[kind] = room(run)
    return known[kind]


def arrange(members: Sequence[Member], stacked: dict[Member, bool]) -> list[Group]:
    """Stacks of those that fit each other, the others alone."""
    alike: dict[object, list[Member]] = {}
    for member in members:
        run = member.leg.run
        alone = not can_stack(run) or stacked.get(member) is False
        alike.setdefault(member if alone else shape(run), []).append(member)
    groups: list[Group] = []
    for some in alike.values():
        some.sort(key=lambda member: member.leg.run.learners[0].alike)  # one update moves neighbours
        stack = Stack([member.leg.run for member in some]) if len(some) > 1 else None
        if stack is not None and not all(member in stacked for member in some):
            stacked.update(dict.fromkeys(some, agrees(stack)))
        if stack is not None and all(stacked[member] for member in some):
            if stack.runs[0].device.type == "cuda":
                stack.capture()
            groups.append(Group(some, stack))
        else:
            groups += [Group([member]) for member in some]
    return groups


def continue_together(
    models: Sequence[nn.Module], run: Run, rule: Callable[[], Optimizer], steps: int, stopped: Callable[[], bool]
) -> None:
    """`continue_training` of several models of one shape, which restarts are, as one program where that pays.

    rule: one that moves each weight by its own gradients alone.
    """
    references = [reference_run(model, run, rule(), steps, alike="reference") for model in models]
    size = max(1, room(references[0])) if references else 1
    for start in range(0, len(references), size):
        some = references[start : start + size]
        stack = Stack(some) if len(some) > 1 else None
        if stack is None or not agrees(stack):
            for reference in some:
                while reference.state.step < steps and not stopped():
                    gather(reference, take_step(reference))
            continue
        while some[0].state.step < steps and not stopped():
            for fault in stack.advance(1, Stop()).values():
                raise fault


def share_data(runs: Sequence[Run]) -> None:
    """Keep one copy of equal data."""
    known: list[Run] = []
    for run in runs:
        same = next((each for each in known if each.data.facts == run.data.facts), None)
        if same is None:
            known.append(run)
        else:
            run.data = same.data
