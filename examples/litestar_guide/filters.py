"""What lists can be asked for: ``?limit=&offset=``, ``?ids=``, ``?searchString=``."""

from typing import Annotated
from uuid import UUID

from advanced_alchemy.extensions.litestar.providers import FilterConfig, create_filter_dependencies
from advanced_alchemy.filters import CollectionFilter, FilterTypes, LimitOffset
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter, SkipValidation

Filters = NamedDependency[SkipValidation[list[FilterTypes]]]
"""All filters of a request, for a list."""

Page = NamedDependency[LimitOffset]
"""Which rows of a list to show."""


def provide_page(
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20, offset: Annotated[int, QueryParameter(ge=0, le=2**31)] = 0
) -> LimitOffset:
    """Return which rows to show."""
    return LimitOffset(limit, offset)


def provide_ids(ids: Annotated[list[UUID] | None, QueryParameter(name="ids")] = None) -> CollectionFilter[UUID]:
    """Return a filter by ids; without any, all rows pass."""
    return CollectionFilter("id", ids)


def filters_for(search: str, order: str) -> dict[str, Provide]:
    """Return Advanced Alchemy's ``filters`` dependency for a list.

    Its own pages are ``?currentPage=&pageSize=``, and its own ids are strings, which not every database compares with UUIDs. Each
    part of ``filters`` is a dependency with a name, so ours take the places of those two.

    Args:
        search: The column that ``?searchString=`` looks into, in upper or lower case.
        order: The column to sort by.
    """
    config = FilterConfig(
        id_filter=UUID,
        pagination_type="limit_offset",
        search=search,
        search_ignore_case=True,
        search_escape_wildcards=True,
        sort_field=order,
        sort_order="asc",
    )
    return {
        **create_filter_dependencies(config),
        "limit_offset_filter": Provide(provide_page, sync_to_thread=False),
        "id_filter": Provide(provide_ids, sync_to_thread=False),
    }
