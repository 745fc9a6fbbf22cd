"""The value: ``FileObject``, lists of them, readers, and the transfers that store, copy and delete their bytes."""
