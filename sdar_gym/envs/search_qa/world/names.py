"""Invented names, made of syllables: no name is given twice, and none is meant to be anybody's."""

from __future__ import annotations

import random

_ONSETS = (
    "b", "br", "c", "d", "dr", "f", "g", "gr", "h", "j", "k", "kr", "l", "m", "n", "p", "pr", "qu", "r", "s", "sk",
    "t", "th", "tr", "v", "vr", "w", "y", "z", "ch",
)  # fmt: skip
_INNER = (
    "b", "d", "g", "k", "l", "ll", "m", "n", "nd", "nn", "r", "rr", "rv", "s", "ss", "st", "t", "th", "v", "z", "lm",
    "rd", "sk", "mb", "lt", "rn", "x", "dr", "br", "m", "v",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "o", "i", "ei", "ou", "y")
_SHORT = ("woman", "man")
_ENDS = {
    "country": ("ora", "ara", "und", "esh", "oria", "avar", "enne", "istra"),
    "town": ("ac", "eth", "olm", "und", "ira", "ost", "ak", "ene", "uvo", "ix", "orra", "eld"),
    "river": ("ush", "isk", "aun", "esk", "ul", "oya", "ith", "emma"),
    "surname": ("ek", "ane", "oth", "ulin", "arro", "iss", "ovar", "azzi", "ulk", "umm", "osh"),
    "woman": ("issa", "elde", "une", "ythe", "onne", "ava", "enna"),
    "man": ("ulf", "em", "ort", "obar", "usk", "ovin", "aldo"),
    "thing": ("ane", "orn", "ith", "essa", "iver", "ask", "ondel", "arl", "irra", "ovy"),
}
# Words and names that the syllables would make by chance.
_MEANT_OTHERWISE = """
    babak balak bambara barak bardem basilisk bassem batak batholith bebek bedoya belem beltane bendix bethune
    bizarro bozak brazoria burak butane cadillac calmodulin camara camorra canara caregiver carissa carnac carnivora
    carotene carrara cassava cataldo cervix chamonix chikara chirac chisolm chisora colac cometh comix comune
    connemara cyrene dalek damask darul debora deliver demerara derek devane dilemma dinesh dirac distort divac
    dudek durarara fedora felix fenix ferrara ferriss foremost fostoria fullerene furniss gamora ganesh garak gareth
    garissa garonne garrix gatiss gemara geraldo gerund giraldo giveth golem gulliver gurukul hadith hagedorn halak
    harem harissa harith hasek hatem hazara hazem helene helix hesketh hexane hindemith historia homebush homem
    honoria hudak humane humira hynix jadakiss janek jedinak jelinek jolene judith jurek kabul kadesh kamara kanak
    karak karnak kasem kassem katara kazak kenneth kenora kerem kerosene kibosh kimora kobane kodak koresh kosovar
    kotak kovac kozak kulak kumara kunene kuvira lambeth lamborn larissa lasix latoya lenora levene lilac lilith
    limonene linac litem liveth lokesh lorac lorem lorene lovelorn loveth lumix madara maketh malak malek malekith
    mandira mannix marek marinara marissa marrakesh marybeth mebane medevac medivac megadeth megamix megane megara
    melek melissa memoria menem meredith merrimac methane methylene minora modem mogul mollusk monolith moribund
    morriss mosul mubarak mukesh mukul mullane multitask mundane murnane muzak mylene nagara nagoya namek nanak
    naresh navarro nazarene nazareth negara nemeth nerissa nordisk novak novara nukem nurul palak pandora panem
    paresh passeth pasternak patek pathak perak piledriver pissarro pizarro polak pollak poltava polythene posix
    potomac pradesh premix pretoria prevost provost prozac pyrene pyroxene radek radix rakesh ramesh rasul ravenna
    razak reborn regolith reinaldo remem remiss remix remora renaldo resort retort reviver rinaldo ritesh rivaldo
    romesh ronaldo rosamund rotund roxane runneth rybak sagara sagebrush salem salix samara sambora samira samora
    samovar sandisk saranac sarek satara sazerac selene sendak senora serene silane silene simul sistem skydiver
    sobek solara someth sonora sumac suresh system sytem tabak takara taketh tamara tamarisk tamora tandem tanith
    tarak tarek temasek terek terrane tilak tirith tokamak toliver tolliver tomek tomoya totem trebek tribune
    tubulin tulane turenne vadodara vanek vanessa varane varvara vetiver vitamix vitoria vivek wardak willem yogesh
    zagora zamalek zamora zenith zeroth zidane zizek
"""


class Names:
    """Draws names; a word that names one thing never names another.

    Args:
        rng: Where the draws come from.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set(_MEANT_OTHERWISE.split())

    @property
    def drawn(self) -> frozenset[str]:
        """All words that were drawn so far, capitalised."""
        return frozenset(word.capitalize() for word in self._used - set(_MEANT_OTHERWISE.split()))

    def word(self, kind: str) -> str:
        """A new capitalised word; `kind` is a key of the table of endings."""
        random_, choice = self._rng.random, self._rng.choice
        ends = _ENDS[kind]
        while True:
            middle = choice(_VOWELS) + choice(_INNER)
            if kind not in _SHORT and random_() < 0.4:
                middle += choice(_VOWELS) + choice(_INNER)
            word = choice(_ONSETS) + middle + choice(ends)
            if word not in self._used and 4 <= len(word) <= 10:
                self._used.add(word)
                return word.capitalize()
