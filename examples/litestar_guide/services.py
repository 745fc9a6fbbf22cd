"""Repositories and services: one of each per table."""

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService

from litestar_guide.models import Author, Book, Document, User


class AuthorRepository(SQLAlchemyAsyncRepository[Author]):
    """Queries for authors."""

    model_type = Author


class BookRepository(SQLAlchemyAsyncRepository[Book]):
    """Queries for books."""

    model_type = Book


class DocumentRepository(SQLAlchemyAsyncRepository[Document]):
    """Queries for documents."""

    model_type = Document


class UserRepository(SQLAlchemyAsyncRepository[User]):
    """Queries for users."""

    model_type = User


class AuthorService(SQLAlchemyAsyncRepositoryService[Author, AuthorRepository]):
    """Authors."""

    repository_type = AuthorRepository


class BookService(SQLAlchemyAsyncRepositoryService[Book, BookRepository]):
    """Books."""

    repository_type = BookRepository


class DocumentService(SQLAlchemyAsyncRepositoryService[Document, DocumentRepository]):
    """Documents. Nothing here is about files: the session stores and deletes them with their rows."""

    repository_type = DocumentRepository


class UserService(SQLAlchemyAsyncRepositoryService[User, UserRepository]):
    """Users."""

    repository_type = UserRepository
