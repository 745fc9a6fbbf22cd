"""Every backend keeps the contract, synchronously and asynchronously."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.backends.contract import ASYNC_CASES, CASES, AsyncDriver, Driver


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_contract(driver: Driver, case: Callable[[Driver], None]) -> None:
    case(driver)


@pytest.mark.parametrize("case", ASYNC_CASES.values(), ids=ASYNC_CASES.keys())
def test_async_contract(async_driver: AsyncDriver, case: Callable[[AsyncDriver], None]) -> None:
    case(async_driver)
