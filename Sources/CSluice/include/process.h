/* Running another program to its end, without handing it anything of ours. */
#ifndef SLUICE_PROCESS_H
#define SLUICE_PROCESS_H

/* Runs `path` in "/" with no input and both outputs appended to the existing file `output`. The
   child inherits no other descriptor, has default signals and a process group of its own, so a
   daemon that it leaves behind holds nothing of ours. Waits at most `timeout_ms`, then kills it and
   returns ETIMEDOUT. Returns 0 and its exit status (128 + n when ended by signal n), or an errno.
   Thread-safe. */
int sluice_run_process(const char *path, char *const arguments[], char *const environment[],
                       const char *output, int timeout_ms, int *status);

#endif
