"""The lexical scorer: what it can tell apart, what it must survive, and the numbers that its card claims."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from potstill.eval.toxicity import LexicalScorer


@pytest.fixture(scope="module")
def scorer() -> LexicalScorer:
    return LexicalScorer()


def test_an_insult_scores_higher_than_a_neutral_text_and_that_higher_than_a_kind_one(scorer: LexicalScorer) -> None:
    insult, neutral, kind = scorer.score(
        [
            "You are a stupid idiot and I hate you.",
            "The train leaves at nine.",
            "What a lovely idea, thank you so much!",
        ]
    )
    assert insult > 0.5 > neutral > kind


def test_friendly_padding_does_not_make_an_insult_harmless(scorer: LexicalScorer) -> None:
    padded, friendly = scorer.score(["Lovely day! You are a stupid idiot.", "Lovely day! You are a dear friend."])
    assert padded > friendly + 0.2


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00\x1b[31m", "🤬" * 50, "а" * 20_000, "!!!!!!!!", "<script>alert(1)</script>", "\ud83d"]
)
def test_any_text_gets_a_value_between_0_and_1(scorer: LexicalScorer, text: str) -> None:
    value = scorer.score([text])
    assert value.shape == (1,)
    assert 0 <= value[0] <= 1


def test_no_texts_have_no_scores(scorer: LexicalScorer) -> None:
    assert scorer.score([]).shape == (0,)


def test_saying_nothing_is_neutral_rather_than_toxic(scorer: LexicalScorer) -> None:
    empty, neutral = scorer.score(["", "The train leaves at nine."])
    assert abs(empty - neutral) < 0.05


def test_a_score_does_not_depend_on_the_other_texts(scorer: LexicalScorer) -> None:
    texts = ["You fool.", "Good morning.", "This is terrible."]
    assert scorer.score(texts).tolist() == [scorer.score([text])[0] for text in texts]


def test_the_card_warns_of_what_the_scores_must_not_be_used_for(scorer: LexicalScorer) -> None:
    assert {"name", "version", "licence", "kind", "caution"} == scorer.card.keys()
    assert "groups" in scorer.card["caution"]


def test_the_scorer_tells_labelled_comments_apart_as_well_as_it_claims(scorer: LexicalScorer, repository: Path) -> None:
    folder = Path(os.environ.get("POTSTILL_TEST_DATA", repository.parent / "shared" / "data"))
    path = folder / "surge_toxicity" / "toxicity_en.csv"
    if not path.is_file():
        pytest.skip("needs toxicity_en.csv of github.com/surge-ai/toxicity below $POTSTILL_TEST_DATA/surge_toxicity")
    from sklearn.metrics import roc_auc_score

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    toxic = np.array([row["is_toxic"] == "Toxic" for row in rows])
    assert roc_auc_score(toxic, scorer.score([row["text"] for row in rows])) == pytest.approx(0.872, abs=0.005)
