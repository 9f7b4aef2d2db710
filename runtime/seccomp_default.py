"""The default system call filter, in groups with their reasons. Pure: names only.

The same calls as the filter that other engines ship and images are tested with, but for the native
architecture alone. What is not named gets EPERM; what is newer than the compiler's tables gets ENOSYS
(see `seccomp`). Never allowed: io_uring and userfaultfd (run past the filter, widen races), keyctl and
its kin (keys are not namespaced), kexec, nfsservctl, uselib, vm86, move_pages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

EPERM, ENOSYS = 1, 38
# clone(2)'s flags that make namespaces: mount, cgroup, uts, ipc, user, pid, net.
NAMESPACE_FLAGS = 0x7E02_0000
AF_ALG, AF_VSOCK = 38, 40
# personality(2): Linux, 32-bit, with and without UNAME26; and 0xffffffff, which only asks.
PERSONALITIES = (0x0, 0x0008, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)

# Opening, reading and changing files, by path or descriptor: permissions decide.
FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64
fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat
ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek lremovexattr lseek
lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2
pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice
stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64
umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
"""

# Waiting for descriptors and watching files; listing the mounts of the own namespace.
WATCHING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch listmount
_newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 statmount
"""

# The old asynchronous I/O. io_uring is left out: it runs calls past this filter.
OLD_AIO = """
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get
ioprio_set
"""

# The process's own memory.
MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_mrelease remap_file_pages
"""

# Starting, ending and scheduling processes. Namespaces (clone's flags) are apart.
PROCESSES = """
alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority
getrlimit getrusage getsid gettid landlock_add_rule landlock_create_ruleset landlock_restrict_self
pidfd_open prctl prlimit64 restart_syscall riscv_hwprobe rseq sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setpgid
setpriority setrlimit setsid sysinfo times ugetrlimit uname uretprobe vfork wait4 waitid waitpid
"""

# Signals, which the pid namespace confines.
SIGNALS = """
kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
tgkill tkill
"""

# User and group ids: capabilities decide who may change them.
IDENTITY = """
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid
setuid32
"""

# Clocks and timers. Setting a clock needs CAP_SYS_TIME; adjtimex also reads.
TIME = """
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""

# Sockets; which families may be made is a rule of its own. socketcall exists for 32-bit only.
SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

# System V and POSIX messages, semaphores and shared memory, which the ipc namespace confines.
IPC = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget
"""

# Reading and changing memory of processes that ptrace(2) permits: of the same user, in the namespace.
TRACING = "process_vm_readv process_vm_writev ptrace"

BY_ARCHITECTURE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "ppc64le": "sync_file_range2 swapcontext",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache",
}


@dataclass(frozen=True, slots=True)
class Privilege:
    """Calls that a capability brings: without it the kernel refuses most of them anyway, and the filter
    keeps the code behind them out of reach."""

    capability: str
    names: str


BY_CAPABILITY = (
    Privilege("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    Privilege(
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr"
        " lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open"
        " quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    Privilege("CAP_SYS_BOOT", "reboot"),
    Privilege("CAP_SYS_CHROOT", "chroot"),
    Privilege("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    Privilege("CAP_SYS_PACCT", "acct"),
    Privilege("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    Privilege("CAP_SYS_RAWIO", "iopl ioperm"),
    Privilege("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    Privilege("CAP_SYS_TTY_CONFIG", "vhangup"),
    Privilege("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    Privilege("CAP_SYSLOG", "syslog"),
    Privilege("CAP_BPF", "bpf"),
    Privilege("CAP_PERFMON", "perf_event_open"),
)

_ALWAYS = (
    FILES, WATCHING, OLD_AIO, MEMORY, PROCESSES, SIGNALS, IDENTITY, TIME, SOCKETS, IPC, TRACING,
)  # fmt: skip


def default_profile(capabilities: Collection[str], machine: str) -> dict[str, Any]:
    """The default filter as an OCI `linux.seccomp` object, for a process with these capabilities."""
    names = set(" ".join(_ALWAYS).split()) | set(BY_ARCHITECTURE.get(machine, "").split())
    for privilege in BY_CAPABILITY:
        if privilege.capability in capabilities:
            names.update(privilege.names.split())
    rules: list[Mapping[str, Any]] = [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}]
    rules += _sockets()
    rules += [_allow("personality", 0, value, "SCMP_CMP_EQ") for value in PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules += _clone(machine)
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM, "syscalls": rules}


def _allow(name: str, index: int, value: int, compare: str) -> dict[str, Any]:
    return {
        "names": [name], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": value, "op": compare}],
    }  # fmt: skip


def _sockets() -> list[dict[str, Any]]:
    """Every family but the kernel's crypto (a row of privilege bugs) and the way to the hypervisor."""
    return [
        _allow("socket", 0, AF_ALG, "SCMP_CMP_LT"),
        _allow("socket", 0, AF_ALG + 1, "SCMP_CMP_EQ"),
        _allow("socket", 0, AF_VSOCK, "SCMP_CMP_GT"),
    ]


def _clone(machine: str) -> list[dict[str, Any]]:
    """clone without new namespaces. clone3 has its flags in memory, where no filter can look: ENOSYS
    makes libraries fall back to clone."""
    masked = {
        "index": 1 if machine == "s390x" else 0, "value": NAMESPACE_FLAGS, "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }  # fmt: skip
    return [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]
