"""Permissions in plain words."""

import pytest

from connector.domain.scopes import API_SCOPES, SCOPES, WORDS_OF_SCOPE, missing_scopes


def test_every_scope_has_words_of_its_own():
    assert len(set(WORDS_OF_SCOPE.values())) == len(SCOPES) == 8
    assert all("scope" not in words and "." not in words for words in WORDS_OF_SCOPE.values())


def test_the_minimum_is_asked_for_and_nothing_broad():
    assert set(SCOPES) == {
        "openid",
        "profile",
        "email",
        "offline_access",
        "accounting.invoices",
        "accounting.payments.read",
        "accounting.contacts",
        "accounting.settings.read",
    }


def test_more_than_asked_misses_nothing():
    assert missing_scopes(" ".join([*SCOPES, "files"])) == ()


def test_sign_in_scopes_are_proven_by_their_tokens_not_by_the_replys_list():
    assert len(API_SCOPES) == 4
    assert missing_scopes(" ".join(API_SCOPES)) == ()


@pytest.mark.parametrize("scope", API_SCOPES)
def test_each_is_missed_by_its_exact_name(scope):
    granted = " ".join(s for s in SCOPES if s != scope)
    assert missing_scopes(granted) == (scope,)
    assert missing_scopes(granted + f" {scope}x") == (scope,)
