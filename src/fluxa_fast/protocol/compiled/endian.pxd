# Big-endian stores and loads, and decimal numbers. Each function says how many bytes it writes or reads.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(_MSC_VER)
      #include <stdlib.h>
      #define fluxa_swap16(x) _byteswap_ushort(x)
      #define fluxa_swap32(x) _byteswap_ulong(x)
      #define fluxa_swap64(x) _byteswap_uint64(x)
      #define FLUXA_LITTLE 1
    #else
      #define fluxa_swap16(x) __builtin_bswap16(x)
      #define fluxa_swap32(x) __builtin_bswap32(x)
      #define fluxa_swap64(x) __builtin_bswap64(x)
      #define FLUXA_LITTLE (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
    #endif
    #if FLUXA_LITTLE
      #define fluxa_big16(x) fluxa_swap16(x)
      #define fluxa_big32(x) fluxa_swap32(x)
      #define fluxa_big64(x) fluxa_swap64(x)
    #else
      #define fluxa_big16(x) (x)
      #define fluxa_big32(x) (x)
      #define fluxa_big64(x) (x)
    #endif
    """
    uint16_t fluxa_big16(uint16_t) noexcept nogil
    uint32_t fluxa_big32(uint32_t) noexcept nogil
    uint64_t fluxa_big64(uint64_t) noexcept nogil


cdef inline void store16(unsigned char *at, uint16_t number) noexcept nogil:
    number = fluxa_big16(number)
    memcpy(at, &number, 2)


cdef inline void store32(unsigned char *at, uint32_t number) noexcept nogil:
    number = fluxa_big32(number)
    memcpy(at, &number, 4)


cdef inline void store64(unsigned char *at, uint64_t number) noexcept nogil:
    number = fluxa_big64(number)
    memcpy(at, &number, 8)


cdef inline uint16_t load16(const unsigned char *at) noexcept nogil:
    cdef uint16_t number
    memcpy(&number, at, 2)
    return fluxa_big16(number)


cdef inline uint32_t load32(const unsigned char *at) noexcept nogil:
    cdef uint32_t number
    memcpy(&number, at, 4)
    return fluxa_big32(number)


cdef inline uint64_t load64(const unsigned char *at) noexcept nogil:
    cdef uint64_t number
    memcpy(&number, at, 8)
    return fluxa_big64(number)


cdef extern from *:
    """
    static const char fluxa_pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
        "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
        "99";
    """
    const char *PAIRS "fluxa_pairs"


cdef inline int count_digits(uint64_t number) noexcept nogil:
    cdef int digits = 1
    while number >= 10000:
        number //= 10000
        digits += 4
    if number >= 100:
        return digits + (3 if number >= 1000 else 2)
    return digits + (number >= 10)


cdef inline int store_decimal(unsigned char *at, uint64_t number) noexcept nogil:
    # Writes 1 to 20 bytes and returns how many.
    cdef int digits = count_digits(number)
    cdef int place = digits
    while number >= 100:
        place -= 2
        memcpy(at + place, PAIRS + 2 * (number % 100), 2)
        number //= 100
    if number >= 10:
        memcpy(at, PAIRS + 2 * number, 2)
    else:
        at[0] = <unsigned char>(48 + number)
    return digits
