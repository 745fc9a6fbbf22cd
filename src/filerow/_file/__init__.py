"""``FileObject``, lists of them, readers, and the transfers of their bytes."""
