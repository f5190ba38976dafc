/* SPDX-License-Identifier: GPL-2.0-only */
/* To be preloaded: the K-th call of malloc(), calloc() or realloc() fails, and with "K+" every later one, too, as the variable
 * FAIL_MALLOC says. FAIL_MALLOC_COUNT names a file for the number of calls there were. What came before the program's own
 * constructors (the dynamic linker's) isn't counted. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static unsigned long calls, at;
static bool begun, further;

__attribute__((constructor)) static void begin(void)
{
	const char *want = getenv("FAIL_MALLOC");
	char *end;

	if (want) {
		at = strtoul(want, &end, 10);
		further = *end == '+';
	}
	begun = true;
}

/* By hand: what formats text may want memory. */
__attribute__((destructor)) static void report(void)
{
	const char *path = getenv("FAIL_MALLOC_COUNT");
	char text[24], *p = text + sizeof(text);
	unsigned long n = calls;
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	do {
		*--p = '0' + n % 10;
		n /= 10;
	} while (n);
	if (write(fd, p, text + sizeof(text) - p) < 0)
		_exit(99);
	close(fd);
}

static bool fails(void)
{
	if (!begun)
		return false;
	calls++;
	if (!at || calls < at || (calls > at && !further))
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}
