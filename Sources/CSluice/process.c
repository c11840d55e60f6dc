#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int spawn(pid_t *process, const char *path, char *const arguments[],
                 char *const environment[], const char *output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_APPEND, 0);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (error == 0) error = posix_spawn_file_actions_addchdir_np(&actions, "/");
    sigemptyset(&signals);
    if (error == 0) error = posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes, &signals);
    if (error == 0) error = posix_spawnattr_setpgroup(&attributes, 0);
    if (error == 0)
        error = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (error == 0)
        error = posix_spawn(process, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Waits until the process can be reaped; returns 0 if it cannot within the time. */
static int wait_for_end(pid_t process, int timeout_ms) {
    int descriptor = (int)syscall(SYS_pidfd_open, process, 0);
    if (descriptor < 0) return 1; /* a kernel before 5.3: `waitpid` then waits without limit */
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    int ready;
    do ready = poll(&entry, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    close(descriptor);
    return ready != 0;
}

int sluice_run_process(const char *path, char *const arguments[], char *const environment[],
                       const char *output, int timeout_ms, int *status) {
    pid_t process = 0;
    int error = spawn(&process, path, arguments, environment, output);
    if (error != 0) return error;
    int in_time = wait_for_end(process, timeout_ms);
    if (!in_time) kill(process, SIGKILL);
    int raw = 0;
    while (waitpid(process, &raw, 0) < 0) {
        if (errno != EINTR) return errno;
    }
    if (!in_time) return ETIMEDOUT;
    *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    return 0;
}
