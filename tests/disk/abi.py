"""SQLite's VFS interface as C declares it: the structures of ``sqlite3.h``, and no behaviour.

The library is the very one that Python's ``sqlite3`` uses, found through the module that is linked
to it, so that what is registered here is seen there. Source: https://sqlite.org/c3ref/vfs.html and
https://sqlite.org/c3ref/io_methods.html (structures of version 3).
"""

import _sqlite3
import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from typing import Any

OK = 0
FULL = 13
READ_ONLY = 8
CANNOT_OPEN = 14
IO_WRITE = 10 | 3 << 8
IO_FSYNC = 10 | 4 << 8
IO_TRUNCATE = 10 | 6 << 8
IO_DELETE = 10 | 10 << 8
IO_SHM_SIZE = 10 | 19 << 8
IO_ERROR = 10

OPEN_CREATE = 0x4
OPEN_DELETE_ON_CLOSE = 0x8
OPEN_SYNCS_FOLDER = 0x800 | 0x4000 | 0x80000
"""a new rollback journal, super-journal or WAL: its first sync makes its name durable too"""

Close = CFUNCTYPE(c_int, c_void_p)
Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
Sync = CFUNCTYPE(c_int, c_void_p, c_int)
ShmMap = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class Methods(Structure):
    """``sqlite3_io_methods``: what can be done with an open file."""

    _fields_ = (
        ("version", c_int),
        ("close", Close),
        ("read", c_void_p),
        ("write", Write),
        ("truncate", Truncate),
        ("sync", Sync),
        ("file_size", c_void_p),
        ("lock", c_void_p),
        ("unlock", c_void_p),
        ("check_reserved_lock", c_void_p),
        ("file_control", c_void_p),
        ("sector_size", c_void_p),
        ("device_characteristics", c_void_p),
        ("shm_map", ShmMap),
        ("shm_lock", c_void_p),
        ("shm_barrier", c_void_p),
        ("shm_unmap", c_void_p),
        ("fetch", c_void_p),
        ("unfetch", c_void_p),
    )


class File(Structure):
    """``sqlite3_file``: its methods, then whatever its VFS keeps behind them."""

    _fields_ = (("methods", POINTER(Methods)),)


class Vfs(Structure):
    """``sqlite3_vfs``: what can be done with names."""

    _fields_ = (
        ("version", c_int),
        ("file_bytes", c_int),
        ("path_max", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("own", c_void_p),
        ("open", Open),
        ("delete", Delete),
        ("access", c_void_p),
        ("full_pathname", c_void_p),
        ("dl_open", c_void_p),
        ("dl_error", c_void_p),
        ("dl_sym", c_void_p),
        ("dl_close", c_void_p),
        ("randomness", c_void_p),
        ("sleep", c_void_p),
        ("current_time", c_void_p),
        ("get_last_error", c_void_p),
        ("current_time_int64", c_void_p),
        ("set_system_call", c_void_p),
        ("get_system_call", c_void_p),
        ("next_system_call", c_void_p),
    )


def library() -> Any:
    """The SQLite of this process."""
    loaded = ctypes.CDLL(_sqlite3.__file__)
    loaded.sqlite3_vfs_find.restype = POINTER(Vfs)
    loaded.sqlite3_vfs_find.argtypes = (c_char_p,)
    loaded.sqlite3_vfs_register.argtypes = (POINTER(Vfs), c_int)
    loaded.sqlite3_vfs_unregister.argtypes = (POINTER(Vfs),)
    return loaded
