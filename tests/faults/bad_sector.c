/* Preloaded into a program: the file or directory whose path stands in the file $BAD_SECTOR cannot be read (EIO).
 * That file may be absent: then all is well. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_bad(int fd)
{
    char wanted[4096], found[4096], link[64];
    const char *list = getenv("BAD_SECTOR");
    int saved = errno, listed = list ? (int)syscall(SYS_openat, AT_FDCWD, list, O_RDONLY | O_CLOEXEC) : -1;
    if (listed < 0) {
        errno = saved;
        return 0;
    }
    long size = syscall(SYS_read, listed, wanted, sizeof wanted);
    close(listed);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, found, sizeof found);
    errno = saved;
    return size > 0 && length == size && memcmp(wanted, found, (size_t)size) == 0;
}

ssize_t read(int fd, void *buffer, size_t size)
{
    if (is_bad(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_read, fd, buffer, size);
}

struct dirent64 *readdir64(DIR *directory)
{
    static struct dirent64 *(*real)(DIR *);
    if (!real)
        real = (struct dirent64 * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir64");
    if (is_bad(dirfd(directory))) {
        errno = EIO;
        return NULL;
    }
    return real(directory);
}

struct dirent *readdir(DIR *directory)
{
    return (struct dirent *)readdir64(directory); /* one and the same where off_t has 64 bits */
}
