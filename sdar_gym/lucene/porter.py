"""Porter's stemmer (Program 14(3), 1980) with its author's two later rules, `bli` and `logi`: the one that Lucene has.

Snowball's stemmer of that name (PyStemmer) has neither rule, nor does it undouble letters such as the k of `trekked`.
"""

from __future__ import annotations

_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_FOURTH = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip


class _Kinds(dict[int, str]):
    def __missing__(self, code: int) -> str:
        return "c"


_KINDS = _Kinds({ord(letter): "v" for letter in "aeiou"} | {ord("y"): "y"})


def stem(word: str) -> str:
    """The stem of a lower-case word; what is no letter counts as a consonant, and words under three letters stay."""
    if len(word) < 3:
        return word
    word = _ending_in_y(_past_or_present(_plural(word)))
    word = _replaced(_replaced(word, _SECOND), _THIRD)
    return _final(_suffix_dropped(word))


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and word[-2] != "s" else word


def _past_or_present(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    root = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
    if "v" not in _shape(root):
        return word
    if root.endswith(("at", "bl", "iz")):
        return root + "e"
    if _is_doubled(root):
        return root if root[-1] in "lsz" else root[:-1]
    return root + "e" if _measure(root) == 1 and _is_short(root) else root


def _ending_in_y(word: str) -> str:
    return word[:-1] + "i" if word.endswith("y") and "v" in _shape(word[:-1]) else word


def _replaced(word: str, endings: dict[str, str]) -> str:
    if not word.endswith(tuple(endings)):
        return word
    for ending, instead in endings.items():
        if word.endswith(ending):
            root = word[: -len(ending)]
            return root + instead if _measure(root) > 0 else word
    return word


def _suffix_dropped(word: str) -> str:
    if not word.endswith(_FOURTH):
        return word
    for suffix in _FOURTH:
        if word.endswith(suffix):
            root = word[: -len(suffix)] + (suffix[0] if suffix.endswith("ion") else "")
            return root if _measure(root) > 1 else word
    return word


def _final(word: str) -> str:
    measure = _measure(word)
    if word.endswith("e") and (measure > 1 or (measure == 1 and not _is_short(word[:-1]))):
        word = word[:-1]
    return word[:-1] if word.endswith("ll") and measure > 1 else word


def _shape(word: str) -> str:
    """A `c` for each consonant and a `v` for each vowel; y is a vowel after a consonant."""
    shape = word.translate(_KINDS)
    while (place := shape.find("y")) >= 0:
        shape = shape[:place] + ("v" if shape[:place].endswith("c") else "c") + shape[place + 1 :]
    return shape


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant: Porter's m."""
    return _shape(word).count("vc")


def _is_doubled(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c"


def _is_short(word: str) -> bool:
    """Whether it ends in consonant, vowel, consonant, such as `hop`, the last not w, x or y: Porter's *o."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"
