# Memory for growing buffers. On Linux large buffers are mapped pages, which grow without a copy.

cdef extern from *:
    """
    #if defined(__linux__)
      #include <string.h>
      #include <sys/mman.h>

      /* Bytes from which on memory is mapped. realloc would copy tens of megabytes, at times. */
      #define FLUXA_MAPPED (4 * 1024 * 1024)

      static void fluxa_release(void *start, Py_ssize_t capacity) {
        if (capacity >= FLUXA_MAPPED) {
          munmap(start, (size_t)capacity);
        } else {
          PyMem_RawFree(start);
        }
      }

      static void *fluxa_mapped(Py_ssize_t capacity) {
        void *start = mmap(NULL, (size_t)capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return start == MAP_FAILED ? NULL : start;
      }

      static void *fluxa_resize(void *start, Py_ssize_t before, Py_ssize_t wanted) {
        void *moved;
        if (before < FLUXA_MAPPED && wanted < FLUXA_MAPPED) {
          return PyMem_RawRealloc(start, (size_t)wanted);
        }
        if (before >= FLUXA_MAPPED && wanted >= FLUXA_MAPPED) {
          moved = mremap(start, (size_t)before, (size_t)wanted, MREMAP_MAYMOVE);
          return moved == MAP_FAILED ? NULL : moved;
        }
        moved = wanted >= FLUXA_MAPPED ? fluxa_mapped(wanted) : PyMem_RawMalloc((size_t)wanted);
        if (moved != NULL) {
          if (before) {
            memcpy(moved, start, (size_t)(before < wanted ? before : wanted));
          }
          fluxa_release(start, before);
        }
        return moved;
      }
    #else
      #define fluxa_release(start, capacity) PyMem_RawFree(start)
      #define fluxa_resize(start, before, wanted) PyMem_RawRealloc(start, (size_t)(wanted))
    #endif
    """
    # `capacity` and `before` are the present size, 0 if there is no memory yet. NULL: there is not enough memory; the
    # old memory stays valid.
    void release_memory "fluxa_release"(void *start, Py_ssize_t capacity) noexcept
    void *resized_memory "fluxa_resize"(void *start, Py_ssize_t before, Py_ssize_t wanted) noexcept
