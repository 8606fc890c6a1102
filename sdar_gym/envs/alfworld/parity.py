"""Do the native and the official engine answer alike? Plays games on both, command by command."""

from __future__ import annotations

import multiprocessing
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sdar_gym.envs.alfworld.engine import NativeEngine, Reply, compile_game
from sdar_gym.envs.alfworld.folder import GameFolder
from sdar_gym.envs.alfworld.game_file import GameFile, GameFileError, read_game_file
from sdar_gym.envs.alfworld.official import OfficialEngine

NONSENSE = (
    "",
    "   ",
    "xyzzy",
    "LOOK",
    " look ",
    "look\n",
    "\tinventory\r\n",
    "look\nlook",
    "lo\tok",
    "look\x00",
    "\x1blook\x07",
    "\x00",
    "\u00a0look\u2003",
    "look\u200b",
    "geh nach Süden 🚪",
    "\ud83d",
    "go to",
    "go to  desk 1",
    "take 1 from 1",
    "take from",
    "put apple 1 in/on fridge 1",
    "open {r}",
    "open {r.__class__}",
    "#intro#",
    "[{r.name | atlocation(a:agent, l:location)}]",
    '"look"',
    "help me",
    "look " * 20_000,
    "x" * 100_000,
)

# Commands that must be left over when the walkthrough is done, so that play goes on after the goal is reached.
_AFTER_THE_GOAL = 8
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two engines part.

    Attributes:
        turn: 0 at the start, else the number of the command.
        commands: What was played so far.
        field: Which part of the answer differs: text, admissible, won, score or understood; or "refused" if one
            engine cannot load the game, "raised" if one fails at a command.
        native: That part, of ours; of an engine that did not fail, its text.
        official: That part, of theirs.
    """

    turn: int
    commands: tuple[str, ...]
    field: str
    native: object
    official: object


@dataclass(frozen=True, slots=True)
class WalkResult:
    """One walk, compared.

    Attributes:
        task_id: The game, as `GameFolder` names it.
        task_type: By its goal; "unknown" if it cannot be read.
        walk: Number of the walk among those of the same game, from 0.
        commands: Commands that were played on both engines.
        won: Whether the goal was reached in it.
        difference: The first difference, or None.
        refusal: Why neither engine plays the game, if so.
    """

    task_id: str
    task_type: str
    walk: int
    commands: int
    won: bool
    difference: Difference | None = None
    refusal: str | None = None

    @property
    def split(self) -> str:
        return self.task_id.partition("/")[0]


def compare_games(
    games: GameFolder, *, walks: int, seed: int, steps: int = 30, jobs: int = 1
) -> Iterator[list[WalkResult]]:
    """Play walks over as many different games as there are, each game once before any twice.

    What is played depends on the games, `walks`, `seed` and `steps` alone.

    Args:
        games: Where the games are.
        walks: How many walks to play, at least 1.
        seed: Decides the games, their order, and the walks.
        steps: Commands a walk, at least 1.
        jobs: Processes that share the work; 1 is this one.

    Yields:
        The results of one game after the other, in an order that does not depend on `jobs`. A game that an engine
        refuses has one result; it is not played again, nor replaced by another.

    Raises:
        MissingOfficialEngineError: textworld or alfworld is not installed; raised at once, not at the first result.
        ChildProcessError: a process died.
        ValueError: a number is too small.
    """
    for name, value in (("walks", walks), ("steps", steps), ("jobs", jobs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    chosen = spread(games, seed)[:walks]
    shares = [walks // len(chosen) + (number < walks % len(chosen)) for number in range(len(chosen))]
    tasks = [
        _Task(path=str(games.path_of(task_id)), task_id=task_id, walks=share, seed=seed, steps=steps)
        for task_id, share in zip(chosen, shares, strict=True)
    ]
    player = _Player()
    return map(player.play, tasks) if jobs == 1 else _in_processes(tasks, jobs)


def spread(games: GameFolder, seed: int) -> list[str]:
    """All task ids, shuffled, with splits and task folders' types taking turns."""
    generator = random.Random(f"games/{seed}")
    groups: dict[str, list[str]] = {}
    for split in games.splits:
        for task_id in sorted(games.task_ids(split)):
            groups.setdefault(f"{split} {task_id.split('/')[1].partition('-')[0]}", []).append(task_id)
    members = [groups[name] for name in sorted(groups)]
    for group in members:
        generator.shuffle(group)
    longest = max(map(len, members), default=0)
    return [group[turn] for turn in range(longest) for group in members if turn < len(group)]


def compare_walk(game: str | Path | GameFile, walk: Sequence[str] | random.Random, steps: int) -> Difference | None:
    """Play one walk on both engines.

    Args:
        game: A game or its file.
        walk: The commands; or a generator that draws them: see `draw_commands`.
        steps: Most commands to play.

    Returns:
        The first difference, or None.

    Raises:
        GameFileError: an engine refuses the game.
    """
    game_file = game if isinstance(game, GameFile) else read_game_file(game)
    native, official = NativeEngine(compile_game(game_file)), OfficialEngine(game)
    commands = draw_commands(native, game_file, walk, steps) if isinstance(walk, random.Random) else iter(walk[:steps])
    return _compare(native, official, commands).difference


def draw_commands(native: NativeEngine, game: GameFile, generator: random.Random, steps: int) -> Iterator[str]:
    """Commands of a random walk, drawn while it is played; peeks at the native state for what is admissible.

    Half of the walks reach the goal: they follow the walkthrough with detours that leave the world as it is, and then
    go on at random. The others wander, and take pieces of the walkthrough on the way. Both are interrupted by commands
    that are admissible elsewhere, by commands that are nearly right, and by nonsense.

    Args:
        native: The engine that plays the walk; it is read, not changed.
        game: Whose walkthrough to use.
        generator: Draws.
        steps: How many commands to draw.
    """
    ahead = list(game.walkthrough)
    reaches_goal = generator.random() < 0.5
    seen: dict[str, None] = {}
    for turn in range(steps):
        admissible = native.game.choices(native.state).commands
        seen.update(dict.fromkeys(admissible))
        dice = generator.random()
        is_urgent = reaches_goal and steps - turn <= len(ahead) + _AFTER_THE_GOAL
        if ahead and (is_urgent or dice < (0.5 if reaches_goal else 0.25)):
            yield ahead.pop(0)
        elif dice < 0.8:
            yield generator.choice(_at_random(admissible, generator, harmless=reaches_goal and bool(ahead)))
        elif dice < 0.87:
            # What leads astray waits until the goal is reached.
            foreign = [command for command in seen if command not in admissible] if reaches_goal and ahead else seen
            yield generator.choice([*foreign] or NONSENSE)
        elif dice < 0.94:
            yield _nearly(generator.choice([*seen]), generator)
        else:
            yield generator.choice(NONSENSE)


def explain(difference: Difference) -> str:
    """A difference in a few lines: where it is, and what each engine says around it."""
    number = difference.turn
    where = f"after command {number}, {_shortened(difference.commands[-1])}" if number else "at the start"
    ours, theirs = difference.native, difference.official
    if difference.field in ("refused", "raised"):
        note, left, right = "", str(ours), str(theirs)
    elif difference.field == "admissible" and isinstance(ours, tuple) and isinstance(theirs, tuple):
        note, left, right = _compared_lists(ours, theirs)
    elif isinstance(ours, str) and isinstance(theirs, str):
        note, left, right = _compared_texts(ours, theirs)
    else:
        note, left, right = "", repr(ours), repr(theirs)
    played = ", ".join(map(_shortened, difference.commands)) or "nothing"
    return f"{where}: {difference.field} differs{note}\n  native:   {left}\n  official: {right}\n  played:   {played}"


def _compared_texts(ours: str, theirs: str) -> tuple[str, str, str]:
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    start = 0 if max(len(ours), len(theirs)) <= _SHOWN else max(0, same - _SHOWN // 4)

    def window(text: str) -> str:
        cut = text[start : start + _SHOWN]
        return f"{'... ' if start else ''}{cut!r}{' ...' if start + _SHOWN < len(text) else ''}"

    return f" from character {same + 1} on", window(ours), window(theirs)


def _compared_lists(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, str, str]:
    lacking = [command for command in theirs if command not in ours]
    more = [command for command in ours if command not in theirs]
    if lacking or more:
        return ", shown is what only one lists", f"{more}", f"{lacking}"
    pairs = enumerate(zip(ours, theirs, strict=False), start=1)
    place = next((number for number, (left, right) in pairs if left != right), min(len(ours), len(theirs)) + 1)
    return f" in order or repetition from entry {place} on", f"{ours[place - 1 :]}", f"{theirs[place - 1 :]}"


def _shortened(command: str) -> str:
    if len(command) <= _SHOWN // 2:
        return repr(command)
    return f"{command[: _SHOWN // 2]!r}... ({len(command):,} characters)"


# What changes nothing that a walkthrough relies on.
_HARMLESS = ("look", "inventory", "help", "examine")


def _at_random(admissible: Sequence[str], generator: random.Random, *, harmless: bool) -> Sequence[str]:
    if harmless:
        return [command for command in admissible if command.startswith(_HARMLESS)] or admissible
    # Going elsewhere is most of what is admissible; what happens at a place is what can differ.
    local = [command for command in admissible if not command.startswith("go to")]
    return local if local and generator.random() < 0.6 else admissible


def _nearly(command: str, generator: random.Random) -> str:
    """A command with one thing wrong; or, with space around it, still right."""
    head, _, number = command.rpartition(" ")
    words = command.split(" ")
    changes: tuple[Callable[[], str], ...] = (
        command.upper,
        command.capitalize,
        lambda: f"{head} {int(number) + 1}" if number.isdigit() else f"{command} 1",
        lambda: head or command[:-1],
        lambda: f"{words[0]} the {' '.join(words[1:])}",
        lambda: command.replace(" to ", " in/on ").replace("move ", "put "),
        lambda: command.replace(" with ", " using ").replace(" from ", " out of "),
        lambda: command.replace(" ", "  "),
        lambda: command.replace(" ", "\t"),
        lambda: f" {command}\n",
        lambda: f"{command}.",
        lambda: f"{command}\x00",
        lambda: f"{command}, {command}",
        lambda: f"{command} {command}",
        lambda: command[::-1],
    )
    return generator.choice(changes)()


@dataclass(frozen=True, slots=True)
class _Outcome:
    commands: int
    won: bool
    difference: Difference | None


def _compare(
    native: NativeEngine, official: OfficialEngine, commands: Iterator[str], start: Reply | None = None
) -> _Outcome:
    """Reset both (the official one unless its start is given), then play; a difference ends it."""
    ours = native.reset()
    theirs = official.reset() if start is None else start
    played: list[str] = []
    won = ours.won
    difference = _difference(ours, theirs, official.score, played)
    while difference is None:
        command = next(commands, None)
        if command is None:
            break
        played.append(command)
        ours_now, theirs_now = _answer(native, command), _answer(official, command)
        if isinstance(ours_now, Reply) and isinstance(theirs_now, Reply):
            won |= ours_now.won
            difference = _difference(ours_now, theirs_now, official.score, played)
        else:
            texts = [each.text if isinstance(each, Reply) else f"raised {each}" for each in (ours_now, theirs_now)]
            difference = Difference(len(played), tuple(played), "raised", *texts)
    return _Outcome(len(played), won, difference)


def _answer(engine: NativeEngine | OfficialEngine, command: str) -> Reply | str:
    try:
        return engine.step(command)
    # An engine that fails is a finding, whatever it raises; the walks that follow are still of interest.
    except Exception as error:
        return repr(error)


def _difference(native: Reply, official: Reply, score: float | None, played: Sequence[str]) -> Difference | None:
    pairs: list[tuple[str, object, object]] = [
        (name, getattr(native, name), getattr(official, name)) for name in ("text", "admissible", "won", "understood")
    ]
    # The official engine states no score before the first command.
    if score is not None:
        pairs.append(("score", float(native.won), score))
    for name, ours, theirs in pairs:
        if ours != theirs:
            return Difference(len(played), tuple(played), name, ours, theirs)
    return None


@dataclass(frozen=True, slots=True)
class _Task:
    """The walks of one game."""

    path: str
    task_id: str
    walks: int
    seed: int
    steps: int


class _Player:
    """Plays tasks with one official engine: making it anew for every game would leak memory."""

    def __init__(self) -> None:
        self._official = OfficialEngine(None)

    def play(self, task: _Task) -> list[WalkResult]:
        """All walks of a game, which both engines load once."""
        game_file, native, start, refusals = self._load(task.path)
        kind = native.game.compiled.goal.task_type if native is not None else "unknown"
        if game_file is None or native is None or refusals:
            return [_refused(task, kind, native, refusals)]
        results = []
        for walk in range(task.walks):
            generator = random.Random(f"{task.seed}/{task.task_id}/{walk}")
            commands = draw_commands(native, game_file, generator, task.steps)
            outcome = _compare(native, self._official, commands, start if walk == 0 else None)
            results.append(WalkResult(task.task_id, kind, walk, outcome.commands, outcome.won, outcome.difference))
        return results

    def _load(self, path: str) -> tuple[GameFile | None, NativeEngine | None, Reply | None, dict[str, str]]:
        """The game, our engine, the official engine's start, and by engine why it refuses the game."""
        refusals: dict[str, str] = {}
        game_file, native, start = None, None, None
        try:
            game_file = read_game_file(path)
            native = NativeEngine(compile_game(game_file))
        except GameFileError as error:
            refusals["native"] = str(error)
        try:
            self._official.load(path)
            start = self._official.reset()
        # Foreign code: it may raise anything, and its translator of PDDL ends the process at some errors.
        except (Exception, SystemExit) as error:
            refusals["official"] = str(error) if isinstance(error, GameFileError) else repr(error)
        return game_file, native, start, refusals


def _refused(task: _Task, kind: str, native: NativeEngine | None, refusals: dict[str, str]) -> WalkResult:
    if len(refusals) == 2:
        said = f"native: {refusals['native']}; official: {refusals['official']}"
        return WalkResult(task.task_id, kind, 0, 0, False, refusal=said)
    said_by = [refusals.get(engine, "plays it") for engine in ("native", "official")]
    return WalkResult(task.task_id, kind, 0, 0, False, Difference(0, (), "refused", *said_by))


def _in_processes(tasks: Sequence[_Task], jobs: int) -> Iterator[list[WalkResult]]:
    # Not forked: the caller may have threads and libraries that do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context, initializer=_ignore_interrupts) as pool:
        try:
            yield from pool.map(_play_in_process, tasks)
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process died, of too little memory or in the official engine; jobs=1 shows at which game"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the first one answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _player_of_process() -> _Player:
    return _Player()


def _play_in_process(task: _Task) -> list[WalkResult]:
    return _player_of_process().play(task)
