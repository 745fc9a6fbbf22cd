"""A library's books and documents: Litestar, Advanced Alchemy and Filerow in one small application."""
