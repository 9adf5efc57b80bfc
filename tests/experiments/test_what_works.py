"""The table of what works for which family is what trying it says."""

from __future__ import annotations

import pytest

from experiments import what_works
from jgmm.families.distributions import DISTRIBUTIONS
from jgmm.families.table import FAMILIES, OF_RANK

# Fits are traced for seconds each; those that are refused are so at once.
_SLOW = ("`fit`", "`prior`", "`missing`", "`labels`", "its derivative")


def test_the_page_has_all_families_and_operations() -> None:
    tables = what_works.on_page()
    assert list(tables) == list(DISTRIBUTIONS)
    for table in tables.values():
        page = what_works.read(table)
        assert set(page) == {*FAMILIES, *(f"{kind}({what_works.RANK})" for kind in OF_RANK)}
        for said in page.values():
            assert list(said) == list(what_works.OPERATIONS)
        assert what_works.read(what_works.table(page)) == page


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("VEV", "gaussian"), ("factor(2)", "gaussian"), ("factor(2)", "student_t")],
)
def test_the_page_is_up_to_date(name: str, distribution: str) -> None:
    said = what_works.read(what_works.on_page()[distribution])[name]
    skipped = {*_SLOW, *(["`fit_gradient`"] if said["`fit_gradient`"] == "yes" else [])}
    tried = [operation for operation in what_works.OPERATIONS if operation not in skipped]
    found = what_works.row(name, distribution, tried)
    assert found == {operation: said[operation] for operation in tried}
