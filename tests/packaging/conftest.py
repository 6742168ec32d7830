"""Trained models that the tests of packaging share."""

from collections.abc import Iterator

import pytest

from tests.digits import Platform, at_home
from tests.packaging.made import Trained, make


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One store and registry for all of them."""
    with at_home(tmp_path_factory.mktemp("home")) as platform:
        yield platform


@pytest.fixture(scope="package")
def images(platform: Platform) -> Trained:
    """A model of images."""
    return make("images", platform)


@pytest.fixture(scope="package")
def numbers(platform: Platform) -> Trained:
    """A model of a table without strings in its graph."""
    return make("numbers", platform)


@pytest.fixture(scope="package")
def prices(platform: Platform) -> Trained:
    """A model that predicts numbers."""
    return make("prices", platform)


@pytest.fixture(scope="package")
def strings(platform: Platform) -> Trained:
    """A model of a table with strings in its graph."""
    return make("strings", platform)
