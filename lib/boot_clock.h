/* SPDX-License-Identifier: GPL-2.0-only */
/* CLOCK_BOOTTIME as the programs in the kernel read it. In a time namespace (time_namespaces(7)) a process is told
 * another time than they are. */
#ifndef FW_BOOT_CLOCK_H
#define FW_BOOT_CLOCK_H

#include <stdint.h>

/* boot_ns(), boot_ms(): since boot, with the time that the machine was suspended. */
uint64_t boot_ns(void);
uint64_t boot_ms(void);

#endif
