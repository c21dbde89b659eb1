"""Appends commands of plain arguments to a buffer, for the drop-in pipeline.

An argument is plain if it is a str, bytes, int or float, and not of a subclass. redis-py encodes such a value the same
at any time, so it may be encoded at once. redis-py encodes all other values.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_CheckExact
from cpython.list cimport PyList_Append, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact

from .buffer cimport FLUXA_FAST_VERSION
from .commands cimport CommandCore
from .endian cimport store_decimal
from .limits cimport MAX_BULK
from .values cimport fluxa_ascii, fluxa_short_int

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    bint PyLong_CheckExact(object)
    Py_ssize_t PyDict_GET_SIZE(object)

from ...errors import FluxaError

built_for = FLUXA_FAST_VERSION.decode()


cdef class CommandStack(list):
    """The list of (arguments, options) that is redis-py's `command_stack`.

    It tells when it has grown to a length, and takes no command while it is sealed. redis-py's own methods append to
    it, so that a pipeline that stays short pays next to nothing for either.

    Args:
        owner: a weak reference to the pipeline.
        look_at: the length from which on the pipeline's `_consider_staging` is called with this list.
    """

    cdef object owner
    cdef public Py_ssize_t look_at
    cdef str why_sealed

    def __init__(self, owner, Py_ssize_t look_at):
        self.owner = owner
        self.look_at = look_at

    def append(self, command):
        if self.why_sealed is not None:
            raise FluxaError(self.why_sealed)
        PyList_Append(self, command)
        if PyList_GET_SIZE(self) >= self.look_at:
            self.owner()._consider_staging(self)

    def seal(self, str why not None):
        """Take no more commands: they would be waited for, and were not sent."""
        self.why_sealed = why

    def unseal(self):
        """End `seal`."""
        self.why_sealed = None


# Writes an argument as a bulk string. 0 if it is not plain.
cdef int write_argument(CommandCore out, PyObject *value, bint utf8) except -1:
    cdef Py_ssize_t size
    cdef const char *text
    cdef long long number
    cdef unsigned char digits[24]
    cdef unsigned char *at = digits
    if PyUnicode_CheckExact(<object>value):
        text = fluxa_ascii(value, &size)
        if text is NULL:
            if not utf8:
                return 0
            try:
                text = PyUnicode_AsUTF8AndSize(<object>value, &size)
            except UnicodeEncodeError:
                return 0
    elif PyBytes_CheckExact(<object>value):
        text = PyBytes_AS_STRING(<object>value)
        size = PyBytes_GET_SIZE(<object>value)
    elif PyLong_CheckExact(<object>value):
        if not fluxa_short_int(value, &number):
            return write_shown(out, <object>value)
        if number < 0:
            at[0] = 45
            at += 1
            number = -number
        at += store_decimal(at, number)
        out.write_bulk(digits, at - digits)
        return 1
    elif PyFloat_CheckExact(<object>value):
        return write_shown(out, <object>value)
    else:
        return 0
    if size > MAX_BULK:
        return 0
    out.write_bulk(text, size)
    return 1


cdef int write_shown(CommandCore out, object number) except -1:
    cdef bytes text
    try:
        text = repr(number).encode("ascii")
    except ValueError:  # an int of thousands of digits
        return 0
    out.write_bulk(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return 1


@cython.critical_section
def stage_command(CommandCore out not None, tuple arguments not None, bint utf8):
    """Append a command of plain arguments. If one of them is not plain, append nothing and return False."""
    cdef Py_ssize_t before = out.length
    out.check_idle()
    out.write_header(42, len(arguments))
    for value in arguments:
        if not write_argument(out, <PyObject *>value, utf8):
            out.length = before
            return False
    out.command_count += 1
    return True


@cython.critical_section
def stage_entry(
    CommandCore out not None, name, bytes options not None, Py_ssize_t option_count, id, dict fields not None,
    bint utf8,
):
    """Append an XADD. `options` is the RESP of the `option_count` arguments between the name and the ID.

    If the name, the ID or a field is not plain, append nothing and return False.
    """
    cdef Py_ssize_t before = out.length
    cdef Py_ssize_t position = 0
    cdef PyObject *field
    cdef PyObject *value
    out.check_idle()
    out.write_header(42, 3 + option_count + 2 * PyDict_GET_SIZE(fields))
    out.write("$4\r\nXADD\r\n", 10)
    if write_argument(out, <PyObject *>name, utf8):
        out.write(PyBytes_AS_STRING(options), PyBytes_GET_SIZE(options))
        if write_argument(out, <PyObject *>id, utf8):
            # Nothing here runs Python code that could change the dict.
            with cython.critical_section(fields):
                while PyDict_Next(fields, &position, &field, &value):
                    if not write_argument(out, field, utf8) or not write_argument(out, value, utf8):
                        break
                else:
                    out.command_count += 1
                    return True
    out.length = before
    return False


def same_objects(dict one not None, dict other not None):
    """True if both dicts have the same objects as keys and as values, in the same order."""
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t other_position = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *other_key
    cdef PyObject *other_value
    if PyDict_GET_SIZE(one) != PyDict_GET_SIZE(other):
        return False
    with cython.critical_section(one, other):
        while PyDict_Next(one, &position, &key, &value):
            if not PyDict_Next(other, &other_position, &other_key, &other_value):
                return False
            if key != other_key or value != other_value:
                return False
    return True


def check_ints(commands):
    """Refuse an int of thousands of digits in (arguments, options).

    Raises:
        ValueError: Python's own, for an int that it does not print.
    """
    cdef long long number
    for arguments, _ in commands:
        for one in <tuple?>arguments:
            if PyLong_CheckExact(one) and not fluxa_short_int(<PyObject *>one, &number):
                repr(one)
