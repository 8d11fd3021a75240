/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/regions.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/memfd.h"

static void unmap(struct region_map *m)
{
	if (m->map)
		(void) munmap(m->map, m->bytes);
	*m = (struct region_map){};
}

static struct region_map *find(struct regions *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->sessions[i].id == id)
			return &r->sessions[i];
	return NULL;
}

/* A size that cannot change: a page that is not there any more would kill the process. */
static int map_region(struct region_map *ret, const struct worker_region *record, int fd, int access)
{
	void *map;

	if (record->bytes == 0 || record->bytes > WORKER_REGION_BYTES_MAX ||
		!memfd_is_sized(fd, record->bytes))
		return -EPROTO;
	map = mmap(NULL, record->bytes, access, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*ret = (struct region_map){record->region, map, record->bytes};
	return 0;
}

int regions_take(struct regions *r, const struct worker_region *record, int fd)
{
	struct region_map m;
	int k;

	if (record->region != WORKER_OWN_REGION) {
		if (r->n == WORKER_REGIONS || find(r, record->region))
			return -EPROTO;
		k = map_region(&r->sessions[r->n], record, fd, PROT_READ);
		r->n += k >= 0;
		return k;
	}
	k = map_region(&m, record, fd, PROT_READ | PROT_WRITE);
	if (k < 0)
		return k;
	unmap(&r->own);
	r->own = m;
	return 0;
}

void regions_forget(struct regions *r, uint64_t id)
{
	struct region_map *m = find(r, id);

	if (!m)
		return;
	unmap(m);
	*m = r->sessions[--r->n];
}

void regions_done(struct regions *r)
{
	unmap(&r->own);
	while (r->n > 0)
		unmap(&r->sessions[--r->n]);
}

uint8_t *regions_at(const struct regions *r, uint64_t id, uint64_t at, uint64_t bytes)
{
	const struct region_map *m =
		id == WORKER_OWN_REGION ? &r->own : find((struct regions *) r, id);

	if (!m || !m->map || at % sizeof(float) != 0 || at > m->bytes || bytes > m->bytes - at)
		return NULL;
	return m->map + at;
}
