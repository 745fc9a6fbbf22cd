"""Filesystems behind one connection: FTP, SFTP and SMB."""
