"""Environments as Ray actors, on any number of machines: `--env-workers ray`. Needs the extra `ray`."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sdar_agents.env_hosts import (
    STARTUP_SECONDS,
    Answer,
    Call,
    EnvCrash,
    EnvHost,
    EnvTurn,
    MakeEnv,
    serve_call,
    too_slow,
)

SEATS_PER_CPU = 2


@dataclass(slots=True)
class _Actor:
    handle: Any
    # The call under way: Ray's reference to its answer, and when it is too late.
    answer: Any | None = None
    deadline: float = 0.0
    has_answered: bool = False


class RayHost(EnvHost):
    """An actor a seat, spread over the cluster that `RAY_ADDRESS` names, or a local one that is started here.

    For environments that outgrow one machine's cores or memory. Every machine needs this package; game files must lie
    at the same path on each. There are two actors a CPU of the cluster unless `seats` says otherwise (`ray:64`);
    further episodes wait for a seat. An actor that hangs or dies, with its machine or alone, is replaced.
    """

    def __init__(self, make: MakeEnv, *, seats: int | None = None, timeout_seconds: float = 300.0) -> None:
        self._ray = _ray()
        if not self._ray.is_initialized():
            self._ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
        cpus = int(self._ray.cluster_resources().get("CPU", 1))
        super().__init__(make, seats=seats or SEATS_PER_CPU * cpus, timeout_seconds=timeout_seconds)
        # The recipe travels as bytes of our own pickling: what cannot be sent is known here, not on a worker.
        self._recipe = pickle.dumps(make)
        # Seats are what limits them, not Ray's count of CPUs, of which a waiting environment uses none.
        self._kind = self._ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD")(_Environment)
        self._actors: dict[int, _Actor] = {}

    def send(self, seat: int, call: Call) -> None:
        if seat not in self._actors:
            self._actors[seat] = _Actor(self._kind.remote(self._recipe))
        actor = self._actors[seat]
        startup = 0.0 if actor.has_answered else STARTUP_SECONDS
        actor.deadline = time.monotonic() + self.timeout_seconds + startup
        actor.answer = actor.handle.do.remote(tuple(call))

    def poll(self, timeout_seconds: float) -> list[Answer]:
        busy = {actor.answer: seat for seat, actor in self._actors.items() if actor.answer is not None}
        if not busy:
            return []
        first = min(actor.deadline for actor in self._actors.values() if actor.answer is not None)
        seconds = max(0.0, min(timeout_seconds, first - time.monotonic()))
        ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=seconds)
        # The first one is here: take along whatever else is.
        if ready and len(busy) > 1:
            ready, _ = self._ray.wait(list(busy), num_returns=len(busy), timeout=0)
        answers = [Answer(busy[reference], self._receive(busy[reference])) for reference in ready]
        now = time.monotonic()
        late = [seat for seat, a in self._actors.items() if a.answer is not None and a.deadline <= now]
        for seat in late:
            self.renew(seat)
            answers.append(Answer(seat, too_slow(self.timeout_seconds)))
        return answers

    def renew(self, seat: int) -> None:
        actor = self._actors.pop(seat, None)
        if actor is not None:
            self._ray.kill(actor.handle, no_restart=True)

    def close(self) -> None:
        for seat in tuple(self._actors):
            # Without the answer of a busy actor: it may be the one that hangs.
            if self._actors[seat].answer is None:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.get(self._actors[seat].handle.close.remote(), timeout=2.0)
            self.renew(seat)

    def _receive(self, seat: int) -> EnvTurn | Exception:
        actor = self._actors[seat]
        try:
            message: bytes = self._ray.get(actor.answer)
        except self._ray.exceptions.RayError as error:
            self.renew(seat)
            return EnvCrash(f"the environment's actor ended: {str(error).strip().splitlines()[0]}")
        actor.answer, actor.has_answered = None, True
        result: EnvTurn | Exception = pickle.loads(message)
        return result


class _Environment:
    """What an actor is: one environment, made at its first call."""

    def __init__(self, recipe: bytes) -> None:
        self._make: MakeEnv = pickle.loads(recipe)
        self._env: Any = None

    def do(self, call: tuple[Any, str]) -> bytes:
        self._env, message = serve_call(self._make, self._env, Call(*call))
        return message

    def close(self) -> None:
        if self._env is not None:
            self._env.close()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError('environments on Ray (--env-workers ray) need ray: pip install "sdar-gym[ray]"') from error
    return ray
