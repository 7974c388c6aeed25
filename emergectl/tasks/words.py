"""Words and letters: unscrambling, and handling letters one by one.

`unscramble` asks for a common word whose letters stand in another order (one of the first abilities
called emergent: Brown et al. 2020, Wei et al. 2022). Its words are the list below, of which no two
are made of the same letters, so that there is one answer. `letters` asks for random letters
reversed or sorted, or for the last letter of each of several words (Wei et al. 2022,
arXiv:2201.11903): what a model needs to see inside its tokens for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import comb
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from emergectl.store.measurements import Fact
from emergectl.tasks.synthetic import MadeTask, span, work
from emergectl.tasks.task import Answering, Item

if TYPE_CHECKING:
    import numpy as np

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"

VOCABULARY = tuple(
    """
    able acid also army aunt away baby back ball bank bell bird blow blue body bond bone book born
    both busy cake call calm camp card cash chef city club coin cold cook corn crew dark dawn
    deck desk disk door dozen drop drum dust duty easy edge exam face fact farm fifth fish flag flow
    folk food foot four frog fuel full game gift girl give glad goal gold golf good hair half hall
    hand hard high hill hobby hold holy hope hour idea inch iron jazz join joke jump junk kick king
    know lady lamp land lawn lazy leaf life lock long luck lung milk mind moon myth navy neck news
    noon oven pack park path pink poem pond pool poor pull push quiz rain rich ring road roof
    room ruby rush safe salt sand ship shop sick silk skin slow snow soft song soup suit swim talk
    tall tank task tiny town trip true tube turn twin ugly unit upon view wall warm wash wave
    week west wild wind wood word yard year young zero zone
    above adult album alone amber apple arrow basic beach begin black blank bread brick bring brown
    build cabin chain chalk cheap civic clock cloud coach crowd daily dance doubt dream drink eagle
    early enjoy enter equal event faith field final flame floor focus found fresh fruit giant glass
    globe grand green habit happy heavy honey hotel house human image juice knife large laugh lemon
    level light local lucky magic major match medal metal money month mouse music never north novel
    ocean offer olive onion organ party peace phone photo piano pilot place plain plant point power
    price proof proud queen quick quiet radio ready relax right river robot rough royal salad scale
    sharp sheep shelf shirt short skill small smile smoke solid sound south space speak speed spoon
    sugar sunny sweet table think tiger tooth total touch tower track train truth uncle union urban
    video visit voice waste watch water whale wheat white whole woman world worry write yacht zebra
    animal autumn basket beauty bridge bright button camera candle carbon castle cheese circle
    coffee cotton cousin danger desert dinner doctor double dragon driver family famous farmer
    father figure finger flight flower forest friend frozen future gentle golden ground guitar
    hammer health honest hunter island jacket jungle kitten ladder leader letter lizard magnet
    market middle mirror modern monkey mother museum nature number object office orange oxygen
    palace parrot pencil people person pirate planet pocket potato prince purple rabbit reason
    rocket school secret shadow silver simple singer sister smooth spider spring square summer
    sunset switch symbol temple ticket tongue travel tunnel turtle valley violin vision window
    winter wisdom wonder
    balance blanket captain chicken country curtain diamond dolphin evening factory feather freedom
    gallery harvest history journey justice kingdom kitchen library machine measure morning mystery
    natural network october painter pattern picture plastic present problem quality rainbow science
    serious shelter silence soldier station stomach student teacher thunder traffic uniform village
    volcano weather weekend welcome whisper
    """.lower().split()
)


class Unscramble(MadeTask):
    """Say which common word some letters make."""

    name: ClassVar[str] = "unscramble"
    least_work: ClassVar[str] = (
        "counting the letters, and one look-up among the words; memory: all the words"
    )

    length: Annotated[int, Field(ge=3, le=7)] | None = None
    """letters in a word; null: any from four to seven"""

    @property
    def alphabet(self) -> str:
        """Letters and the colon."""
        return _ALPHABET + ":"

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among the words."""
        return {"exact_match": 1 / len(self.words)}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming a word of the right length, whatever its letters."""
        by_length: dict[int, list[str]] = {}
        for word in self.words:
            by_length.setdefault(len(word), []).append(word)
        return {
            "naming any word as long": lambda item: by_length[len(item.prompt.removesuffix(":"))]
        }

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that can be asked for."""
        return tuple(word for word in VOCABULARY if self.length in (None, len(word)))

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random words, their letters in random order but never the right one."""
        chosen = rng.integers(0, len(self.words), size=count).tolist()
        for number in chosen:
            word = self.words[number]
            text = word
            while text == word:
                text = "".join(word[place] for place in rng.permutation(len(word)).tolist())
            length = len(word)
            yield Item(
                id=text,
                prompt=f"{text}:",
                target=word,
                facts={
                    "length": length,
                    **work(operations=length + 1, steps=2, memory=len(self.words)),
                },
            )


class Letters(MadeTask):
    """Reverse or sort letters, or join the last letters of words."""

    name: ClassVar[str] = "letters"
    least_work: ClassVar[str] = (
        "one look-up for each letter written; for sorting log₂ n! comparisons in a chain of "
        "log₂ n; memory: the letters written"
    )

    operation: Literal["reverse", "sort", "last"] = "reverse"
    """last: the last letter of each of `length` words of three to six letters"""
    length: Annotated[int, Field(ge=1, le=128)] = 6
    """letters of the answer"""
    min_length: Annotated[int, Field(ge=1, le=128)] | None = None
    """fewest letters; null: always `length`"""

    @property
    def alphabet(self) -> str:
        """Letters, blank and colon."""
        return _ALPHABET + " :"

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all (where they are sorted: all sorted) letters of a length."""
        lengths = span(self.min_length, self.length)
        if self.operation == "sort":
            return {"exact_match": 1 / sum(comb(25 + length, length) for length in lengths)}
        return {"exact_match": 1 / sum(26**length for length in lengths)}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Writing letters as they stand in the question; where the last are asked, the first."""

        def as_they_stand(item: Item) -> list[str]:
            words = item.prompt.removesuffix(":").split()[1:]
            return ["".join(word[0] for word in words)] if self.operation == "last" else words

        first = "writing the first letters" if self.operation == "last" else "copying the letters"
        return {first: as_they_stand}

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random letters, evenly of every length."""
        lengths = rng.integers(self.min_length or self.length, self.length + 1, size=count)
        places = rng.integers(0, 26, size=(count, self.length, 6)).tolist()
        sizes = rng.integers(3, 7, size=(count, self.length)).tolist()
        for rows, row_sizes, length in zip(places, sizes, lengths.tolist(), strict=True):
            words = ["".join(_ALPHABET[place] for place in row) for row in rows[:length]]
            if self.operation == "last":
                words = [word[:size] for word, size in zip(words, row_sizes, strict=False)]
                yield self._item(" ".join(words), "".join(word[-1] for word in words))
                continue
            text = "".join(word[0] for word in words)
            answer = text[::-1] if self.operation == "reverse" else "".join(sorted(text))
            yield self._item(text, answer)

    def _item(self, text: str, answer: str) -> Item:
        length = len(answer)
        least: dict[str, Fact] = work(operations=length, steps=1, memory=length)
        if self.operation == "sort":
            steps = (length - 1).bit_length()
            least = work(operations=_comparisons(length), steps=steps, memory=length)
        return Item(
            id=f"{self.operation} {text}",
            prompt=f"{self.operation} {text}:",
            target=answer,
            facts={"length": length, **least},
        )


def _comparisons(length: int) -> int:
    """log₂ length!, rounded up."""
    ways = 1
    for number in range(2, length + 1):
        ways *= number
    return (ways - 1).bit_length()
