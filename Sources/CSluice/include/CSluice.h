#ifndef SLUICE_CSLUICE_H
#define SLUICE_CSLUICE_H
#endif
