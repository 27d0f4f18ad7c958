from __future__ import annotations

from decimal import Decimal

import pytest
from shop.catalogue import Catalogue, Product, UnknownProduct


@pytest.mark.smoke
def test_every_product_is_listed(catalogue):
    assert len(catalogue) == 5


@pytest.mark.smoke
def test_a_product_is_found_by_its_number(catalogue):
    assert catalogue.product("M-200").name == "Enamel mug, blue"


def test_an_unknown_number_is_named_in_the_error(catalogue):
    with pytest.raises(UnknownProduct, match="no product X-999"):
        catalogue.product("X-999")


class TestSearch:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            pytest.param("mug", ["M-201", "M-200"], id="one word, cheapest first"),
            pytest.param("MUG Blue", ["M-200"], id="two words in any case"),
            pytest.param("gift", ["M-200", "P-300"], id="by tag"),
            pytest.param("teapot", [], id="nothing"),
        ],
    )
    def test_finds(self, catalogue, words, found):
        assert [product.sku for product in catalogue.search(words)] == found

    @pytest.mark.slow
    def test_a_large_catalogue_is_searched_in_a_second(self):
        products = (Product(f"N-{n}", f"Notebook {n:05}", Decimal(n)) for n in range(20_000))
        assert [product.sku for product in Catalogue(products).search("notebook 19999")] == ["N-19999"]
