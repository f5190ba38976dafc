/* SPDX-License-Identifier: GPL-2.0-only */
/* pin_reach DIRECTORY: every pin below it, as far as the caller can list it, and what bpf(2) lets him do with it:
 * "rw NAME" or "r NAME"; nothing for those he can't open. What is opened for reading only must refuse to be written.
 * Exit 1 if it does not. */
#include <bpf/bpf.h>
#include <errno.h>
#include <ftw.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t base;
static int wrong;

static int get(const char *path, unsigned int flags)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);

	return bpf_obj_get_opts(path, &opts);
}

static void try_write(int fd, const char *path)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info), zero = 0;
	void *value;

	if (strstr(path, "/progs/") || bpf_obj_get_info_by_fd(fd, &info, &len))
		return;
	value = calloc(1024, (info.value_size + 7ul) & ~7ul);
	if (!value || bpf_map_update_elem(fd, &zero, value, 0) == 0 || errno != EPERM) {
		printf("written %s\n", path + base);
		wrong = 1;
	}
	free(value);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
	int fd;

	if (type != FTW_F && type != FTW_NS)
		return 0;
	fd = get(path, 0);
	if (fd >= 0) {
		printf("rw %s\n", path + base);
	} else {
		fd = get(path, BPF_F_RDONLY);
		if (fd >= 0) {
			printf("r %s\n", path + base);
			try_write(fd, path);
		}
	}
	if (fd >= 0)
		close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		base = strlen(argv[1]) + 1;
		nftw(argv[i], visit, 16, FTW_PHYS);
	}
	return wrong;
}
