/* The terminal of an interactive command: taken over, and given back whatever happens. */
#ifndef SLUICE_TERMINAL_H
#define SLUICE_TERMINAL_H

#include <stdint.h>

/* Rows and columns of a terminal as rows * 65536 + columns; 0 if `descriptor` is none or does not
   say. */
int64_t sluice_terminal_size(int descriptor);

/* Hides the cursor of the terminal `output`. With `whole`, a screen of its own is shown there, and
   the keys of `input` (if that is a terminal) arrive one by one without being shown; Ctrl-C and
   Ctrl-Z stay signals. Everything is undone by `sluice_terminal_leave`, at exit, while stopped by
   Ctrl-Z, and by the signals of a crash. Returns 0 or an errno. */
int sluice_terminal_enter(int input, int output, int whole);

/* Undoes `sluice_terminal_enter`; a second call does nothing. */
void sluice_terminal_leave(void);

#endif
