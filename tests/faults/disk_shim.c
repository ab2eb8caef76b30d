/* Loaded before libc into a store that is tested: writes down what it does to the disk, slows its syncs, and moves
 * its clock. What is written down is replayed by power_loss.py as a disk that lost what was not synced.
 *
 * MW_TRACE        file to append operations to; MW_UNDER only paths that begin with this
 * MW_SYNC_MS      file with a number: so many milliseconds longer each fsync takes
 * MW_CLOCK        file with a number: so many seconds the wall clock is off
 *
 * An operation: one byte of kind, four numbers of eight bytes (inode, offset, and the lengths of what follows),
 * then a path or two paths or the bytes written. Order in the file is the order in which they happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST_FDS 65536
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static const char *under = NULL;
static unsigned char tracked[MOST_FDS];

static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_open)(const char *, int, ...);
static ssize_t (*real_read)(int, void *, size_t);
static int (*real_close)(int);

__attribute__((constructor)) static void begin(void) {
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    real_read = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
    under = getenv("MW_UNDER");
    const char *path = getenv("MW_TRACE");
    if (path && under) trace = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static double number_in(const char *variable) {
    char text[64] = {0};
    const char *path = getenv(variable);
    if (!path) return 0;
    int fd = real_open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = real_read(fd, text, sizeof text - 1);
    real_close(fd);
    return got > 0 ? atof(text) : 0;
}

static void put(char kind, uint64_t inode, uint64_t offset, const void *a, size_t a_size, const void *b, size_t b_size) {
    char head[33];
    uint64_t numbers[4] = {inode, offset, a_size, b_size};
    head[0] = kind;
    memcpy(head + 1, numbers, sizeof numbers);
    struct iovec all[3] = {{head, sizeof head}, {(void *)a, a_size}, {(void *)b, b_size}};
    ssize_t (*real_writev)(int, const struct iovec *, int) = REAL(writev);
    size_t size = sizeof head + a_size + b_size;
    if (real_writev(trace, all, 3) != (ssize_t)size) abort();
}

static int wanted(const char *path) { return trace >= 0 && path && !strncmp(path, under, strlen(under)); }
static int ours(int fd) { return trace >= 0 && fd >= 0 && fd < MOST_FDS && tracked[fd]; }

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static int opened(const char *path, int flags, mode_t mode, int (*call)(const char *, int, ...)) {
    if (!wanted(path)) {
        int fd = call(path, flags, mode);
        if (fd >= 0 && fd < MOST_FDS) tracked[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&turn);
    int there = !access(path, F_OK);
    int fd = call(path, flags, mode), failed = errno;
    if (fd >= 0 && fd < MOST_FDS) {
        tracked[fd] = 1;
        if (!there) put('C', inode_of(fd), 0, path, strlen(path), NULL, 0);
        else put((flags & O_TRUNC) ? 'T' : 'O', inode_of(fd), 0, path, strlen(path), NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    errno = failed;
    return fd;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(path, flags, mode, real_open); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(path, flags | O_LARGEFILE, mode, real_open); }
int creat(const char *path, mode_t mode) { return opened(path, O_CREAT | O_WRONLY | O_TRUNC, mode, real_open); }

int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, flags)
    if (path[0] == '/') return opened(path, flags, mode, real_open);
    int (*call)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    int fd = call(folder, path, flags, mode);
    if (fd >= 0 && fd < MOST_FDS) tracked[fd] = 0;
    return fd;
}
int openat64(int folder, const char *path, int flags, ...) { MODE(flags, flags) return openat(folder, path, flags, mode); }

int close(int fd) {
    if (fd >= 0 && fd < MOST_FDS) tracked[fd] = 0;
    return real_close(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!ours(fd)) return real_write(fd, data, size);
    pthread_mutex_lock(&turn);
    ssize_t done = real_write(fd, data, size);
    int failed = errno;
    if (done > 0) put('W', inode_of(fd), (uint64_t)(lseek(fd, 0, SEEK_CUR) - done), data, (size_t)done, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return done;
}

static ssize_t wrote(int fd, const void *data, size_t size, off64_t offset) {
    ssize_t (*call)(int, const void *, size_t, off64_t) = REAL(pwrite64);
    if (!ours(fd)) return call(fd, data, size, offset);
    pthread_mutex_lock(&turn);
    ssize_t done = call(fd, data, size, offset);
    int failed = errno;
    if (done > 0) put('W', inode_of(fd), (uint64_t)offset, data, (size_t)done, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return wrote(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return wrote(fd, data, size, offset); }

static ssize_t wrote_pieces(int fd, const struct iovec *pieces, int count, off64_t offset) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = wrote(fd, pieces[i].iov_base, pieces[i].iov_len, offset + total);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < pieces[i].iov_len) break;
    }
    return total;
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) { return wrote_pieces(fd, pieces, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t offset) { return wrote_pieces(fd, pieces, count, offset); }
ssize_t pwritev2(int fd, const struct iovec *pieces, int count, off_t offset, int flags) { (void)flags; return wrote_pieces(fd, pieces, count, offset); }

ssize_t pwritev64v2(int fd, const struct iovec *pieces, int count, off64_t offset, int flags) { (void)flags; return wrote_pieces(fd, pieces, count, offset); }

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (!ours(fd)) { ssize_t (*call)(int, const struct iovec *, int) = REAL(writev); return call(fd, pieces, count); }
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(fd, pieces[i].iov_base, pieces[i].iov_len);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < pieces[i].iov_len) break;
    }
    return total;
}

static int synced(int fd, int (*call)(int)) {
    double slow = number_in("MW_SYNC_MS");
    if (slow > 0) usleep((useconds_t)(slow * 1000));
    if (!ours(fd)) return call(fd);
    pthread_mutex_lock(&turn);
    int done = call(fd), failed = errno;
    if (!done) put('S', inode_of(fd), 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return done;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

static int cut(int fd, off64_t size) {
    int (*call)(int, off64_t) = REAL(ftruncate64);
    if (!ours(fd)) return call(fd, size);
    pthread_mutex_lock(&turn);
    int done = call(fd, size), failed = errno;
    if (!done) put('L', inode_of(fd), (uint64_t)size, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return done;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int named(char kind, int done, int failed, const char *from, const char *to) {
    if (!done) put(kind, 0, 0, from, strlen(from), to, to ? strlen(to) : 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return done;
}
#define NAMING(kind, from, to, call) \
    if (!wanted(from)) return call; \
    pthread_mutex_lock(&turn); \
    int done = call, failed = errno; \
    return named(kind, done, failed, from, to);

int rename(const char *from, const char *to) { NAMING('R', from, to, REAL(rename)(from, to)) }
int renameat(int a, const char *from, int b, const char *to) { NAMING('R', from, to, REAL(renameat)(a, from, b, to)) }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { NAMING('R', from, to, REAL(renameat2)(a, from, b, to, flags)) }
int link(const char *from, const char *to) { NAMING('H', from, to, REAL(link)(from, to)) }
int linkat(int a, const char *from, int b, const char *to, int flags) { NAMING('H', from, to, REAL(linkat)(a, from, b, to, flags)) }
int unlink(const char *path) { NAMING('U', path, NULL, REAL(unlink)(path)) }
int unlinkat(int folder, const char *path, int flags) { NAMING('U', path, NULL, REAL(unlinkat)(folder, path, flags)) }
int mkdir(const char *path, mode_t mode) { NAMING('M', path, NULL, REAL(mkdir)(path, mode)) }
int rmdir(const char *path) { NAMING('U', path, NULL, REAL(rmdir)(path)) }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = REAL(clock_gettime)(clock, time);
    if (!done && clock == CLOCK_REALTIME && getenv("MW_CLOCK")) time->tv_sec += (time_t)number_in("MW_CLOCK");
    return done;
}
