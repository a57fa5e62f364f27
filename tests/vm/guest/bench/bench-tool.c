/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Measurements in the guest. Each figure is a line `figure NAME NANOSECONDS`.
 *
 * bench-tool run NAME COMMAND...              time of a command from fork to exit; fails if the command fails
 * bench-tool trace COMMAND...                 print the system calls of a command; see trace()
 * bench-tool policies DIRECTORY COUNT         write COUNT policy files
 * bench-tool heap NAME PATH BYTES COUNT       time to allocate and free a buffer, mean of COUNT
 * bench-tool calls NAME PATH COUNT            time of two system calls without an effect, mean of COUNT
 * bench-tool write NAME PATH TEXT             time of one write; also prints its start: `began NANOSECONDS`
 * bench-tool groups NAME PATH COUNT           time to write `create` and `destroy` to a file, mean of COUNT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "bench-tool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int run(const char *name, char **command)
{
	long started = now_ns(), took;
	pid_t child = vfork();
	int status;

	if (child < 0)
		fail("vfork");
	if (!child) {
		execvp(command[0], command);
		_exit(127);
	}
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	took = now_ns() - started;
	printf("figure %s %ld\n", name, took);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

/*
 * Arguments of system calls: i number, s string, d bytes (the next argument is their number), w one word of input,
 * x by the number of the ioctl, o memory for the result.
 */
static const struct signature {
	long number;
	const char *arguments;
} signatures[] = {
	{ SYS_bind, "idi" }, { SYS_close, "i" }, { SYS_dup3, "iii" },
	{ SYS_faccessat, "isi" }, { SYS_fchmod, "ii" }, { SYS_fchmodat, "isi" },
	{ SYS_fchown, "iii" }, { SYS_fcntl, "iii" }, { SYS_flock, "ii" },
	{ SYS_fstat, "io" }, { SYS_fstatfs, "io" }, { SYS_fsync, "i" },
	{ SYS_ftruncate, "ii" }, { SYS_getdents64, "ioi" }, { SYS_geteuid, "" },
	{ SYS_getsockname, "iow" }, { SYS_getuid, "" }, { SYS_ioctl, "iix" },
	{ SYS_lseek, "iii" }, { SYS_mkdirat, "isi" }, { SYS_mmap, "iiiiii" },
	{ SYS_newfstatat, "isoi" }, { SYS_openat, "isii" }, { SYS_openat2, "isdi" },
	{ SYS_pread64, "ioii" }, { SYS_pwrite64, "idii" }, { SYS_read, "ioi" },
	{ SYS_readlinkat, "isoi" }, { SYS_recvfrom, "ioiiow" }, { SYS_renameat, "isis" },
	{ SYS_renameat2, "isisi" }, { SYS_sendto, "idiidi" }, { SYS_setsockopt, "iiidi" },
	{ SYS_socket, "iii" }, { SYS_statfs, "so" }, { SYS_statx, "isiio" },
	{ SYS_symlinkat, "sis" }, { SYS_umask, "i" }, { SYS_uname, "o" },
	{ SYS_unlinkat, "isi" }, { SYS_write, "idi" },
};

/* Calls of the Rust runtime: memory, signals, threads, start and exit. A program in C does not need them. */
static const long runtime[] = {
	SYS_brk, SYS_clock_gettime, SYS_execve, SYS_exit, SYS_exit_group, SYS_futex, SYS_getpid, SYS_getrandom,
	SYS_gettid, SYS_madvise, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_ppoll, SYS_prctl, SYS_prlimit64,
	SYS_rseq, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sched_getaffinity, SYS_set_robust_list,
	SYS_set_tid_address, SYS_sigaltstack,
};

static const char *signature(const struct __ptrace_syscall_info *call)
{
	for (size_t i = 0; i < sizeof(runtime) / sizeof(*runtime); i++)
		if (runtime[i] == (long)call->entry.nr)
			return NULL;
	/* Anonymous memory has no file. */
	if (call->entry.nr == SYS_mmap && (int)call->entry.args[4] == -1)
		return NULL;
	for (size_t i = 0; i < sizeof(signatures) / sizeof(*signatures); i++)
		if (signatures[i].number == (long)call->entry.nr)
			return signatures[i].arguments;
	fprintf(stderr, "bench-tool: system call %llu has no signature; add it to bench-tool.c\n",
		(unsigned long long)call->entry.nr);
	exit(1);
}

static void print_bytes(FILE *out, int memory, uint64_t at, size_t count)
{
	for (size_t done = 0; done < count;) {
		unsigned char part[256];
		size_t want = count - done < sizeof(part) ? count - done : sizeof(part);

		if (pread(memory, part, want, at + done) != (ssize_t)want)
			fail("failed to read the memory of the command");
		for (size_t i = 0; i < want; i++)
			fprintf(out, "%02x", part[i]);
		done += want;
	}
}

static void print_argument(FILE *out, int memory, const uint64_t *args, int index, char kind)
{
	uint64_t value = args[index];
	char byte = 1;

	if (kind == 'i' || (!value && kind != 'x')) {
		fprintf(out, " i:%lld", (long long)value);
	} else if (kind == 'o') {
		fprintf(out, " o:");
	} else {
		fprintf(out, " b:");
		if (kind == 's') {
			for (; byte; value++) {
				if (pread(memory, &byte, 1, value) != 1)
					fail("failed to read the memory of the command");
				fprintf(out, "%02x", (unsigned char)byte);
			}
		} else if (kind == 'x') {
			print_bytes(out, memory, value, _IOC_SIZE(args[1]));
		} else {
			print_bytes(out, memory, value, kind == 'w' ? 4 : args[index + 1]);
		}
	}
}

static long rss_anon_kib(int status)
{
	char text[4096], *line;
	ssize_t length = pread(status, text, sizeof(text) - 1, 0);

	if (length < 0)
		return 0;
	text[length] = 0;
	line = strstr(text, "RssAnon:");
	return line ? strtol(line + strlen("RssAnon:"), NULL, 10) : 0;
}

/*
 * Prints a line `call NUMBER ARGUMENT... = RESULT` for each system call that is not of the runtime; an argument is
 * i:NUMBER, b:HEX (the bytes that it points to) or o: (memory for the result). Between all calls, `gap NANOSECONDS` is
 * the time that the command ran, including the stops. The last line is `peak KIB`, the maximum of anonymous memory.
 */
static int trace(char **command)
{
	static char text[4 << 20];
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct __ptrace_syscall_info call;
	long resumed = 0, peak = 0, entered;
	const char *arguments = NULL;
	char path[64];
	int status, memory, state;
	int printed = 0;
	pid_t child = fork();

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execvp(command[0], command);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		fail("fork");
	if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC))
		fail("ptrace");
	do {
		if (ptrace(PTRACE_CONT, child, NULL, NULL) || waitpid(child, &status, 0) < 0)
			fail("ptrace");
		if (WIFEXITED(status))
			return 1;
	} while (status >> 8 != (SIGTRAP | (PTRACE_EVENT_EXEC << 8)));
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/status", child);
	state = open(path, O_RDONLY | O_CLOEXEC);

	for (;;) {
		resumed = now_ns();
		if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) || waitpid(child, &status, 0) < 0)
			fail("ptrace");
		entered = now_ns();
		if (WIFEXITED(status))
			break;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(call), &call) < 0)
			fail("ptrace");
		if (call.op == PTRACE_SYSCALL_INFO_ENTRY) {
			long anonymous = rss_anon_kib(state);

			peak = anonymous > peak ? anonymous : peak;
			if (printed)
				fprintf(out, "gap %ld\n", entered - resumed);
			arguments = signature(&call);
			if (!arguments)
				continue;
			fprintf(out, "call %llu", (unsigned long long)call.entry.nr);
			for (int i = 0; arguments[i]; i++)
				print_argument(out, memory, (const uint64_t *)call.entry.args, i, arguments[i]);
			printed = 1;
		} else if (call.op == PTRACE_SYSCALL_INFO_EXIT && arguments) {
			fprintf(out, " = %lld\n", (long long)call.exit.rval);
		}
	}
	fclose(out);
	fputs(text, stdout);
	printf("peak %ld\n", peak);
	return WEXITSTATUS(status);
}

/* Writes policies of other boards. */
static int policies(const char *directory, long count)
{
	static const char text[] = "schema = 1\n"
				   "description = \"A board among many\"\n\n"
				   "[gpu.\"arm,mali-valhall-csf\"]\n"
				   "heaps = [{ name = \"protected,secure-video\" }, { name = \"acme_svp\" }]\n"
				   "suspend = { bytes = \"64KiB\", count = 16 }\n\n"
				   "[evidence.\"acme_svp\"]\n"
				   "status = \"unverified\"\n"
				   "source = \"made for a measurement\"\n";

	for (long i = 0; i < count; i++) {
		char path[300];
		int file;

		snprintf(path, sizeof(path), "%s/acme,board-%05ld.toml", directory, i);
		file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (file < 0 || write(file, text, sizeof(text) - 1) != sizeof(text) - 1)
			fail(path);
		close(file);
	}
	return 0;
}

static int heap(const char *name, const char *path, long bytes, long count)
{
	int heap = open(path, O_RDWR | O_CLOEXEC);
	long started;

	if (heap < 0)
		fail(path);
	started = now_ns();
	for (long i = 0; i < count; i++) {
		struct dma_heap_allocation_data data = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };

		if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
			fail("failed to allocate a buffer");
		close(data.fd);
	}
	printf("figure %s %ld\n", name, (now_ns() - started) / count);
	return 0;
}

static int calls(const char *name, const char *path, long count)
{
	int heap = open(path, O_RDWR | O_CLOEXEC);
	long started = now_ns();

	if (heap < 0)
		fail(path);
	for (long i = 0; i < count; i++) {
		/* The heap has no such ioctl, and no file has that number. */
		if (!ioctl(heap, _IO('H', 99)) || !close(1000))
			return 1;
	}
	printf("figure %s %ld\n", name, (now_ns() - started) / count);
	return 0;
}

static int groups(const char *name, const char *path, long count)
{
	int groups = open(path, O_WRONLY | O_CLOEXEC);
	long started;

	if (groups < 0)
		fail(path);
	started = now_ns();
	for (long i = 0; i < count; i++)
		if (write(groups, "create", 6) != 6 || write(groups, "destroy", 7) != 7)
			fail(path);
	printf("figure %s %ld\n", name, (now_ns() - started) / count);
	return 0;
}

static int write_once(const char *name, const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	long started, took;

	if (file < 0)
		fail(path);
	started = now_ns();
	if (write(file, text, strlen(text)) != (ssize_t)strlen(text))
		fail(path);
	took = now_ns() - started;
	printf("began %ld\nfigure %s %ld\n", started, name, took);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "run") && argc > 3)
		return run(argv[2], argv + 3);
	if (!strcmp(what, "trace") && argc > 2)
		return trace(argv + 2);
	if (!strcmp(what, "policies") && argc == 4)
		return policies(argv[2], strtol(argv[3], NULL, 10));
	if (!strcmp(what, "heap") && argc == 6)
		return heap(argv[2], argv[3], strtol(argv[4], NULL, 10), strtol(argv[5], NULL, 10));
	if (!strcmp(what, "calls") && argc == 5)
		return calls(argv[2], argv[3], strtol(argv[4], NULL, 10));
	if (!strcmp(what, "write") && argc == 5)
		return write_once(argv[2], argv[3], argv[4]);
	if (!strcmp(what, "groups") && argc == 5)
		return groups(argv[2], argv[3], strtol(argv[4], NULL, 10));
	fprintf(stderr, "bench-tool: unknown command or wrong number of arguments; see the head of bench-tool.c\n");
	return 2;
}
