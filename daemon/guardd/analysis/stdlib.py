"""The standard library's top-level names, of every Python 3: a repo's interpreter may be older or newer than ours."""

import sys

_REMOVED = """
    _bootlocale _dummy_thread _dummy_threading aifc asynchat asyncore audioop binhex cgi cgitb chunk crypt distutils
    dummy_threading formatter fpectl imghdr imp lib2to3 macpath mailcap msilib nis nntplib nturl2path ossaudiodev parser
    pipes smtpd sndhdr spwd sre_compile sre_constants sre_parse sunau symbol telnetlib tkinter turtledemo uu xdrlib idlelib
"""
_ADDED = """
    _colorize _pyrepl _zstd annotationlib compression graphlib pathlib profiling string tomllib zoneinfo _interpreters
    _interpchannels _interpqueues _remote_debugging _py_warnings _opcode_metadata _ios_support _android_support _apple_support
"""
_FOR_TESTS = """
    test _testbuffer _testcapi _testclinic _testclinic_limited _testconsole _testexternalinspection _testimportmultiple
    _testinternalcapi _testlimitedcapi _testmultiphase _testsinglephase _ctypes_test _xxsubinterpreters _xxinterpchannels
    _xxtestfuzz xxlimited xxlimited_35 xxlimited_3_13 xxsubtype __hello__ __phello__
"""

STDLIB = sys.stdlib_module_names | {*_REMOVED.split(), *_ADDED.split(), *_FOR_TESTS.split()}
"""What an interpreter brings along. Ours alone would be wrong: `distutils` is gone from 3.12, `annotationlib` came with 3.14."""
