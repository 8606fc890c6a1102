"""Text to index terms as the original's search engine makes them: Lucene 8.11's English analysis as Anserini has it.

Words are cut by the word-break rules of Unicode 9 (annex 29) with the emoji of Unicode 11, possessive endings and the
case are dropped, 33 stop words are left out, and the rest is stemmed by Porter's algorithm.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files

from sdar_gym.lucene.porter import stem

STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was",
        "will", "with",
    }
)  # fmt: skip
LONGEST_TOKEN = 255
"""In UTF-16 code units: the original's unit. What is longer is cut."""
_LONGEST_CACHED = 64
_APOSTROPHES = "'\u2019\uff07"

# What `_words` finds in text of ASCII alone: marks join two letters or two digits.
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+(?:(?:(?<=[A-Za-z])[:.'](?=[A-Za-z])|(?<=[0-9])[.,;'](?=[0-9]))[A-Za-z0-9_]+)*")


def tokens(text: str) -> list[str]:
    """The terms of a text, in order and with repetitions."""
    found: list[str] = []
    # A space ends every word, and most of what stands between two has been seen before.
    for part in text.split(" "):
        if part:
            found += _cached_terms(part) if len(part) <= _LONGEST_CACHED else _terms(part)
    return found


def _terms(text: str) -> tuple[str, ...]:
    return tuple(term for word in _words(text) if (term := _term(word)) is not None)


_cached_terms = lru_cache(maxsize=1 << 16)(_terms)


def _term(word: str) -> str | None:
    """What is indexed of a word; None for a stop word."""
    if len(word) > 1 and word[-1] in "sS" and word[-2] in _APOSTROPHES:
        word = word[:-2]
    # Letter by letter: Python would write a sigma at the end of a word in another way, and Java does not.
    word = word.lower() if word.isascii() else "".join(letter.lower()[0] for letter in word)
    return None if word in STOP_WORDS else _stem(word)


def _stem(word: str) -> str:
    if word.isascii() or max(word) < "\U00010000":
        return stem(word)
    # Java's letters are UTF-16 code units.
    data = word.encode("utf-16-be")
    units = "".join(chr(high << 8 | low) for high, low in zip(data[::2], data[1::2], strict=True))
    return stem(units).encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def _words(text: str) -> Iterator[str]:
    if text.isascii():
        words: list[str] = _ASCII_WORD.findall(text)
        if all(len(word) <= LONGEST_TOKEN for word in words):
            return (word for word in words if word.strip("_"))
    return _unicode_words(text)


# A kind of character is a letter or mark, as `word_break.txt` states them. Characters of the kinds in `_ANY` belong to
# the one before them; those in `_EMOJI_MARKS` also to an emoji.
_EMOJI_MARKS = "[xsZCgG]*+"
_ANY = "[xsZCgGFV]*+"
_LOW_LINES = f"(?:_{_ANY})"
_NUMBER = f"N{_ANY}(?:(?:{_LOW_LINES}*+|[,.']{_ANY})N{_ANY})*"
_HEBREW_MARK = f"H{_ANY}(?:'{_ANY}|\"{_ANY}H{_ANY})"
_LETTERS = f"[AHP]{_ANY}(?:[:.']{_ANY}[AHP]{_ANY}|{_LOW_LINES}*+(?!{_HEBREW_MARK})[AHP]{_ANY})*"
_KATAKANA = f"K{_ANY}(?:{_LOW_LINES}*+K{_ANY})*"
_PART = f"(?:{_KATAKANA}|(?:{_HEBREW_MARK}|{_NUMBER}|{_LETTERS})+)"
_WORD = f"{_LOW_LINES}*+{_PART}(?:{_LOW_LINES}++{_PART})*{_LOW_LINES}*+"
_PICTOGRAPH = f"(?:(?:Z*+B{_EMOJI_MARKS})?M{_EMOJI_MARKS}|Z*+[EPB]{_EMOJI_MARKS}F?)"
_EMOJI = f"{_PICTOGRAPH}(?:g++G|(?:(?:(?<=Z)|Z){_PICTOGRAPH})*)"
_KEYCAP = f"#{_EMOJI_MARKS}FC{_EMOJI_MARKS}|#[xsZgG]*+C{_EMOJI_MARKS}"
_FLAG = f"R{_ANY}R{_ANY}"
_SOUTH_EAST_ASIAN = f"(?:[Ss]{_ANY})+"
_IDEOGRAPH = f"J{_ANY}"
_START = re.compile("[_AHPNKJSsZEBMR#]")
_TOKEN = re.compile("|".join((_WORD, _EMOJI, _KEYCAP, _FLAG, _SOUTH_EAST_ASIAN, _IDEOGRAPH)))
_EMOJI_TOKEN = re.compile(_EMOJI)


def _unicode_words(text: str) -> Iterator[str]:
    kinds = text.translate(_kinds())
    position = 0
    while start := _START.search(kinds, position):
        position = start.start()
        stop = _token_end(kinds, position, position + LONGEST_TOKEN)
        if stop - position > LONGEST_TOKEN // 2:  # fewer characters cannot be too many code units
            stop = _token_end(kinds, position, _window_end(text, position))
        if stop > position:
            yield text[position:stop]
        position = max(stop, position + 1)


def _token_end(kinds: str, start: int, window_end: int) -> int:
    token = _TOKEN.match(kinds, start, window_end)
    end = token.end() if token else start
    # The few emoji that are also letters, such as \u24c2: whichever is longer.
    if kinds[start] == "P" and (emoji := _EMOJI_TOKEN.match(kinds, start, window_end)):
        end = max(end, emoji.end())
    return end


def _window_end(text: str, start: int) -> int:
    """Where a token that starts there has to end at the latest."""
    end = min(len(text), start + LONGEST_TOKEN)
    while (excess := len(text[start:end].encode("utf-16-le", "surrogatepass")) // 2 - LONGEST_TOKEN) > 0:
        end -= (excess + 1) // 2
    return end


class _Kinds(dict[int, str]):
    """The kind of each character by its code point; made as they are met, for `str.translate`."""

    def __init__(self) -> None:
        ranges = [(0, 0, " ")]
        for line in files(__package__).joinpath("word_break.txt").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("//"):
                kind, *parts = line.split(" ")
                for part in parts:
                    first, _, last = part.partition("-")
                    ranges.append((int(first, 16), int(last or first, 16), kind))
        self._ranges = sorted(ranges)
        self._firsts = [first for first, _, _ in self._ranges]

    def __missing__(self, code: int) -> str:
        place = bisect_right(self._firsts, code) - 1
        _, last, kind = self._ranges[place]
        if code > last:
            kind = " "
        if len(self) < 1 << 16:
            self[code] = kind
        return kind


@cache
def _kinds() -> _Kinds:
    return _Kinds()
