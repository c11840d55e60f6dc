#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Written before `is_entered` is set, and read by signal handlers only while it is. */
static struct termios saved, raw;
static int input_descriptor = -1, output_descriptor = -1, takes_whole;
static atomic_int is_entered;

static void put(const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t written = write(output_descriptor, text, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        left -= (size_t)written;
    }
}

static void show(void) {
    if (input_descriptor >= 0) tcsetattr(input_descriptor, TCSANOW, &raw);
    put(takes_whole ? "\033[?1049h\033[?25l" : "\033[?25l");
}

static void restore(void) {
    put(takes_whole ? "\033[0m\033[?7h\033[?25h\033[?1049l" : "\033[0m\033[?7h\033[?25h");
    if (input_descriptor >= 0) tcsetattr(input_descriptor, TCSANOW, &saved);
}

int64_t sluice_terminal_size(int descriptor) {
    struct winsize size;
    if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return 0;
    return (int64_t)size.ws_row * 65536 + size.ws_col;
}

void sluice_terminal_leave(void) {
    if (atomic_exchange(&is_entered, 0)) restore();
}

/* Ctrl-Z: the shell gets its terminal back; whoever continues us hears of it as a new size. */
static void stopped(int number) {
    int error = errno;
    (void)number;
    if (atomic_load(&is_entered)) restore();
    kill(getpid(), SIGSTOP);
    if (atomic_load(&is_entered)) {
        show();
        kill(getpid(), SIGWINCH);
    }
    errno = error;
}

/* The handler is reset on entry, so the signal raised again ends the process as it always does. */
static void crashed(int number) {
    sluice_terminal_leave();
    raise(number);
}

int sluice_terminal_enter(int input, int output, int whole) {
    static int has_handlers;
    if (atomic_load(&is_entered)) return EALREADY;
    output_descriptor = output;
    takes_whole = whole;
    input_descriptor = -1;
    if (whole && tcgetattr(input, &saved) == 0) {
        raw = saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        input_descriptor = input;
    }
    if (!has_handlers) {
        static const int crashes[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SIGQUIT};
        struct sigaction action;
        memset(&action, 0, sizeof action);
        sigemptyset(&action.sa_mask);
        if (atexit(sluice_terminal_leave) != 0) return ENOMEM;
        action.sa_handler = crashed;
        action.sa_flags = SA_RESETHAND | SA_NODEFER;
        for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigaction(crashes[i], &action, NULL);
        action.sa_handler = stopped;
        action.sa_flags = SA_RESTART;
        sigaction(SIGTSTP, &action, NULL);
        has_handlers = 1;
    }
    atomic_store(&is_entered, 1);
    show();
    return 0;
}
