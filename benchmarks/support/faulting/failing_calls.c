// Lets one system call of this process fail. Linux on x86-64; see failing_calls.py, which builds and loads it.
//
//   gcc -shared -fPIC benchmarks/support/faulting/failing_calls.c
//
// A seccomp filter sends the calls of TRAPPED to a handler of SIGSYS in the thread that made them. So none escapes: not
// stdio's, nor those of libraries in C++ and Rust, which a preloaded library doesn't see. The handler counts the calls
// on files below one folder. It passes them on from one address, which the filter lets through. Threads make calls in
// any order, so the call that fails is named by its path, and by how often it was made on that path before.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __x86_64__
#error "written for x86-64 alone"
#endif

enum how { ONCE, SHORT, FULL };   // one error; half a transfer; a disk that is full from then on
enum { NOWHERE = -1, HERE = -2 }; // an argument that there is not; a path that starts in the current folder

#define RECORDED 16384
#define LENGTH 512

// A path below the folder; of what is random in a temporary name, each character is a '#'.
struct made {
    char path[LENGTH];
    int32_t kind;
};

// In memory that watched processes share with their watcher; failing_calls.py has the same structure.
struct watch {
    char folder[4096];
    struct made fails; // the call that fails
    int32_t how;       // enum how
    int32_t error;     // errno
    int64_t nth;       // how often it is made before it fails, itself included; 0 if none fails
    int64_t met;       // how often it was made
    int64_t struck;    // calls that failed or were cut short
    char path[8192];   // of the last that did
    int64_t counted;   // calls so far
    struct made calls[RECORDED];
};

struct call {
    uint16_t number;
    uint8_t kind;  // what it is called
    int8_t path;   // which argument is the path
    int8_t dir;    // which argument is the folder that the path starts in
    int8_t fd;     // which argument is the descriptor
    int8_t amount; // which argument says how many bytes or buffers
    int8_t takes;  // whether it takes space: 2 where O_CREAT says so
};

// In the order of CALLS in failing_calls.py.
enum { OPEN, READ, WRITE, COPY, FSYNC, RENAME, UNLINK, MKDIR, RMDIR, MMAP, CLOSE, STAT, ACCESS, LIST, LSEEK, TRUNCATE,
       LOCK, LINK, CHMOD, UTIME, READLINK, STATFS };

#define AT(number, kind, path, dir, takes) {number, kind, path, dir, NOWHERE, NOWHERE, takes}
#define ON(number, kind, fd, amount, takes) {number, kind, NOWHERE, NOWHERE, fd, amount, takes}

static const struct call TRAPPED[] = {
    AT(SYS_open, OPEN, 0, HERE, 2), AT(SYS_openat, OPEN, 1, 0, 2), AT(SYS_creat, OPEN, 0, HERE, 1),
    ON(SYS_read, READ, 0, 2, 0), ON(SYS_pread64, READ, 0, 2, 0), ON(SYS_readv, READ, 0, 2, 0),
    ON(SYS_preadv, READ, 0, 2, 0),
    ON(SYS_write, WRITE, 0, 2, 1), ON(SYS_pwrite64, WRITE, 0, 2, 1), ON(SYS_writev, WRITE, 0, 2, 1),
    ON(SYS_pwritev, WRITE, 0, 2, 1),
    ON(SYS_sendfile, COPY, 0, 3, 1), ON(SYS_copy_file_range, COPY, 2, 4, 1),
    ON(SYS_fsync, FSYNC, 0, NOWHERE, 1), ON(SYS_fdatasync, FSYNC, 0, NOWHERE, 1),
    AT(SYS_rename, RENAME, 0, HERE, 0), AT(SYS_renameat, RENAME, 1, 0, 0), AT(SYS_renameat2, RENAME, 1, 0, 0),
    AT(SYS_unlink, UNLINK, 0, HERE, 0), AT(SYS_unlinkat, UNLINK, 1, 0, 0), AT(SYS_rmdir, RMDIR, 0, HERE, 0),
    AT(SYS_mkdir, MKDIR, 0, HERE, 1), AT(SYS_mkdirat, MKDIR, 1, 0, 1),
    ON(SYS_mmap, MMAP, 4, NOWHERE, 0), ON(SYS_close, CLOSE, 0, NOWHERE, 0),
    AT(SYS_stat, STAT, 0, HERE, 0), AT(SYS_lstat, STAT, 0, HERE, 0), AT(SYS_newfstatat, STAT, 1, 0, 0),
    AT(SYS_statx, STAT, 1, 0, 0), ON(SYS_fstat, STAT, 0, NOWHERE, 0),
    AT(SYS_access, ACCESS, 0, HERE, 0), AT(SYS_faccessat, ACCESS, 1, 0, 0), AT(SYS_faccessat2, ACCESS, 1, 0, 0),
    ON(SYS_getdents64, LIST, 0, NOWHERE, 0), ON(SYS_lseek, LSEEK, 0, NOWHERE, 0),
    ON(SYS_ftruncate, TRUNCATE, 0, NOWHERE, 1), AT(SYS_truncate, TRUNCATE, 0, HERE, 1),
    ON(SYS_fallocate, TRUNCATE, 0, NOWHERE, 1), ON(SYS_flock, LOCK, 0, NOWHERE, 0),
    AT(SYS_link, LINK, 0, HERE, 0), AT(SYS_linkat, LINK, 1, 0, 0), AT(SYS_symlink, LINK, 1, HERE, 1),
    AT(SYS_chmod, CHMOD, 0, HERE, 0), AT(SYS_fchmodat, CHMOD, 1, 0, 0), ON(SYS_fchmod, CHMOD, 0, NOWHERE, 0),
    AT(SYS_utimensat, UTIME, 1, 0, 0), AT(SYS_readlink, READLINK, 0, HERE, 0), AT(SYS_readlinkat, READLINK, 1, 0, 0),
    AT(SYS_statfs, STATFS, 0, HERE, 0), ON(SYS_fstatfs, STATFS, 0, NOWHERE, 0),
};
#define CALLS (sizeof TRAPPED / sizeof *TRAPPED)

static struct watch *watched;

long pass_on(long number, long a, long b, long c, long d, long e, long f);
extern const char passed_on[]; // where the kernel finds that pass_on has called it

__asm__(".text\n.globl pass_on, passed_on\n.hidden pass_on, passed_on\n"
        "pass_on:\n"
        "mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n mov %r8, %r10\n mov %r9, %r8\n"
        "mov 8(%rsp), %r9\n syscall\n"
        "passed_on:\n ret\n");

// Puts the path of a descriptor, or of the current folder, into `path`; returns its length, 0 without one.
static size_t path_of(long fd, char *path, size_t size) {
    char link[32] = "/proc/self/cwd";
    if (fd >= 0) {
        char digits[12], *digit = digits + sizeof digits - 1;
        *digit = 0;
        do
            *--digit = '0' + fd % 10;
        while (fd /= 10);
        strcpy(link, "/proc/self/fd/");
        strcat(link, digit);
    }
    long length = pass_on(SYS_readlink, (long)link, (long)path, size, 0, 0, 0);
    return length < 0 ? 0 : length;
}

// Puts the path that a call is on into `path`, and says whether it lies below the folder.
static int is_below(const struct call *call, const long *arguments, char path[static 8192]) {
    size_t length = 0;
    const char *name = call->path == NOWHERE ? "" : (const char *)arguments[call->path];
    if (name == NULL)
        name = "";
    if (*name != '/') {
        long fd = call->path == NOWHERE ? (int)arguments[call->fd]
                  : call->dir == HERE   ? AT_FDCWD
                                        : (int)arguments[call->dir];
        length = path_of(fd == AT_FDCWD ? -1 : fd, path, 4096);
        if (length == 0)
            return 0;
        path[length++] = '/';
    }
    strncpy(path + length, name, 8191 - length);
    path[8191] = 0;
    size_t folder = strlen(watched->folder);
    return strncmp(path, watched->folder, folder) == 0 && path[folder] == '/';
}

static int is_digit(char each) {
    return (each >= '0' && each <= '9') || (each >= 'a' && each <= 'f');
}

// Hides the end of a component that Python's tempfile has made, from `begin` on: .NAME.########
static void hide_hidden(char *begin) {
    size_t length = strcspn(begin, "/");
    if (length < 10 || *begin != '.' || begin[length - 9] != '.')
        return;
    for (size_t place = length - 8; place < length; place++)
        if (!is_digit(begin[place]) && !(begin[place] >= 'g' && begin[place] <= 'z') && begin[place] != '_')
            return;
    memset(begin + length - 8, '#', 8);
}

// Hides what is random: the eight digits of lstn's own names; those of Python's tempfile, and in tmp/ also UUIDs.
static void hide_random(char *path) {
    for (char *begin = path; begin; begin = strchr(begin, '/') ? strchr(begin, '/') + 1 : NULL)
        hide_hidden(begin);
    for (char *end = path; (end = strstr(end, ".tmp")); end++) {
        char *begin = end;
        while (begin > path && is_digit(begin[-1]))
            begin--;
        if (end - begin == 8)
            memset(begin, '#', 8);
    }
    if (strncmp(path, "tmp/", 4) != 0)
        return;
    char *name = path + 4, *end = strchr(name, '/');
    if (end == NULL)
        end = name + strlen(name);
    if (end - name >= 11 && strncmp(name, "tmp", 3) == 0)
        memset(name + 3, '#', 8);
    else if (end - name >= 8)
        memset(end - 8, '#', 8);
    for (; strlen(end) >= 36; end++)
        if (end[8] == '-' && end[13] == '-' && end[18] == '-' && end[23] == '-')
            for (int place = 0; place < 36; place++)
                if (is_digit(end[place]))
                    end[place] = '#';
}

// Puts a path below the folder into `made`, as a run that is repeated has it.
static void name_it(struct made *made, const char *path) {
    size_t length = 0;
    for (; path[length] && length < LENGTH - 1; length++)
        made->path[length] = path[length];
    while (length && made->path[length - 1] == '/') // of a descriptor
        length--;
    made->path[length] = 0;
    hide_random(made->path);
}

static long passed(const long *call) {
    return pass_on(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
}

// Half of what was asked for, if that is more than one byte.
static long cut_short(const struct call *call, long *whole) {
    long *amount = &whole[1 + call->amount];
    if (call->number != SYS_readv && call->number != SYS_writev && call->number != SYS_preadv &&
        call->number != SYS_pwritev) {
        *amount -= *amount / 2;
        return passed(whole);
    }
    struct iovec first = *(struct iovec *)whole[2];
    first.iov_len -= first.iov_len / 2;
    whole[2] = (long)&first;
    *amount = 1;
    return passed(whole);
}

static long answer(const struct call *call, long *whole) {
    char path[8192];
    if (!is_below(call, whole + 1, path))
        return passed(whole);
    struct made made;
    made.kind = call->kind;
    name_it(&made, path + strlen(watched->folder) + 1);
    int64_t number = __atomic_add_fetch(&watched->counted, 1, __ATOMIC_SEQ_CST);
    if (number <= RECORDED)
        watched->calls[number - 1] = made;
    int it = watched->nth && made.kind == watched->fails.kind && strcmp(made.path, watched->fails.path) == 0 &&
             __atomic_add_fetch(&watched->met, 1, __ATOMIC_SEQ_CST) == watched->nth;
    if (!it && (watched->how != FULL || watched->nth == 0 || watched->met < watched->nth))
        return passed(whole);
    int makes = call->takes == 1 || (call->takes == 2 && whole[call->number == SYS_open ? 2 : 3] & O_CREAT);
    if (watched->how == FULL && !makes)
        return passed(whole);
    __atomic_add_fetch(&watched->struck, 1, __ATOMIC_SEQ_CST);
    strcpy(watched->path, path);
    if (call->amount != NOWHERE && (watched->how == SHORT || (watched->how == FULL && it)))
        return cut_short(call, whole);
    if (call->kind == CLOSE) // Linux closes the file all the same
        passed(whole);
    return watched->how == SHORT ? passed(whole) : -watched->error;
}

static void on_call(int number, siginfo_t *info, void *context) {
    (void)number;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    long whole[] = {info->si_syscall,   registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                    registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
    for (size_t index = 0; index < CALLS; index++)
        if (TRAPPED[index].number == whole[0])
            registers[REG_RAX] = answer(&TRAPPED[index], whole);
}

// Watches this process, and those that it forks, from now on, by the memory of a descriptor; returns 0 or an errno.
int watch_calls(int memory) {
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sock_filter filter[10 + CALLS + 2];
    uint64_t address = (uint64_t)passed_on;
    size_t length = 0;
    watched = mmap(NULL, sizeof *watched, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0); // to the very end
    if (watched == MAP_FAILED)
        return errno;
#define LOAD(field) filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field)
#define EQUAL(value, yes, no) filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RETURN(what) filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what)
    LOAD(offsetof(struct seccomp_data, instruction_pointer));
    EQUAL((uint32_t)address, 0, 3);
    LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4);
    EQUAL((uint32_t)(address >> 32), 0, 1);
    RETURN(SECCOMP_RET_ALLOW);
    LOAD(offsetof(struct seccomp_data, nr));
    EQUAL(SYS_mmap, 0, 3); // of memory alone: threads begin with it, and hold signals back
    LOAD(offsetof(struct seccomp_data, args[3]));
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, CALLS + 1, 0);
    LOAD(offsetof(struct seccomp_data, nr));
    for (size_t index = 0; index < CALLS; index++)
        EQUAL(TRAPPED[index].number, CALLS - index, 0);
    RETURN(SECCOMP_RET_ALLOW);
    RETURN(SECCOMP_RET_TRAP);
    struct sock_fprog program = {length, filter};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
        return errno;
    return 0;
}
