/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/planes.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/memfd.h"
#include "engine/model.h"

/* Parts of matrices in a plane begin on a cache line, as in the file. */
#define PART_WORDS 8
#define CRC_STEP ((size_t) 1 << 30)

/* A plane as its store sees it. */
struct stored {
	struct plane plane;
	struct list link;
};

/* What somebody else has filled: see plane_offer(). */
struct offer {
	struct list link;
	uint32_t index, layout;
	size_t bytes;
	int fd;
};

struct plane_store {
	pthread_mutex_t mutex; /* of the lists; never held while a file is read */
	struct list alive, offers;
};

struct plane_store *plane_store_new(void)
{
	struct plane_store *s = malloc(sizeof *s);

	if (!s)
		return NULL;
	(void) pthread_mutex_init(&s->mutex, NULL);
	list_init(&s->alive);
	list_init(&s->offers);
	return s;
}

static void offer_free(struct offer *o)
{
	list_remove(&o->link);
	(void) close(o->fd);
	free(o);
}

static uint32_t drop_offers(struct plane_store *s)
{
	uint32_t n = 0;

	(void) pthread_mutex_lock(&s->mutex);
	for (; !list_empty(&s->offers); n++)
		offer_free(list_entry(s->offers.next, struct offer, link));
	(void) pthread_mutex_unlock(&s->mutex);
	return n;
}

uint32_t plane_offers_drop(struct network *network)
{
	return drop_offers(network->store);
}

int plane_offer(struct network *network, uint32_t index, uint32_t layout, size_t bytes, int fd)
{
	struct plane_store *s = network->store;
	struct offer *o = NULL;
	int r = memfd_is_read_only(fd, bytes) ? 0 : -EPERM;

	if (r >= 0) {
		o = malloc(sizeof *o);
		r = o ? 0 : -ENOMEM;
	}
	if (r < 0) {
		(void) close(fd);
		return r;
	}
	*o = (struct offer){.index = index, .layout = layout, .bytes = bytes, .fd = fd};
	(void) pthread_mutex_lock(&s->mutex);
	list_append(&s->offers, &o->link);
	(void) pthread_mutex_unlock(&s->mutex);
	return 0;
}

struct plane_store *plane_store_free(struct plane_store *s)
{
	if (s) {
		(void) drop_offers(s);
		(void) pthread_mutex_destroy(&s->mutex);
	}
	free(s);
	return NULL;
}

static void stored_free(struct stored *p)
{
	if (p->plane.words)
		(void) munmap((void *) p->plane.words, p->plane.bytes);
	if (p->plane.fd >= 0)
		(void) close(p->plane.fd);
	free(p->plane.matrix_word);
	free(p);
}
DEFINE_CLEANUP(struct stored *, stored_free)

struct plane *plane_unref(struct plane *p)
{
	struct stored *s;

	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	s = list_entry(p, struct stored, plane);
	(void) pthread_mutex_lock(&p->store->mutex);
	list_remove(&s->link);
	(void) pthread_mutex_unlock(&p->store->mutex);
	stored_free(s);
	return NULL;
}

/* A plane whose last reference has gone is on its way out: do not wake it up. */
static bool try_ref(struct plane *p)
{
	unsigned int refs = atomic_load_explicit(&p->refs, memory_order_relaxed);

	while (refs > 0)
		if (atomic_compare_exchange_weak_explicit(&p->refs, &refs, refs + 1,
			    memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

/* Does plane @index of the file hold bits of this matrix? */
static bool matrix_has(const struct matrix *m, uint32_t index)
{
	return index == PLANE_FIXED ? m->fixed : !m->fixed && index < m->planes;
}

static bool matrix_wanted(const struct network *n, uint32_t i, uint32_t index, const bool *used)
{
	return matrix_has(&n->matrices[i], index) && (!used || used[i]);
}

static bool same_matrices(const struct network *n, const struct plane *p, const bool *used)
{
	for (uint32_t i = 0; i < n->n_matrices; i++)
		if ((p->matrix_word[i] != UINT64_MAX) != matrix_wanted(n, i, p->index, used))
			return false;
	return true;
}

/* With the mutex held. */
static struct plane *find_alive(const struct network *n, uint32_t index, const bool *used)
{
	list_for_each(l, &n->store->alive) {
		struct plane *p = &list_entry(l, struct stored, link)->plane;

		if (p->index == index && same_matrices(n, p, used) && try_ref(p))
			return p;
	}
	return NULL;
}

/* What is read from the file: a blob, whole or the parts of some matrices. */
struct blob {
	const struct network *network;
	uint32_t index;
	const bool *used; /* NULL: whole */
	uint64_t offset, bytes;
	uint32_t crc;
};

static struct blob blob_of(const struct network *n, uint32_t index, const bool *used)
{
	struct blob b = {n, index, NULL, n->fixed_offset, n->fixed_bytes, n->fixed_crc};

	if (index != PLANE_FIXED) {
		b.offset = n->plane_offset[index];
		b.bytes = n->plane_bytes[index];
		b.crc = n->plane_crc[index];
	}
	for (uint32_t i = 0; used && i < n->n_matrices; i++)
		if (matrix_has(&n->matrices[i], index) && !used[i])
			b.used = used;
	return b;
}

static uint64_t part_words(const struct matrix *m)
{
	return bits_plane_words(m->rows, m->row_bits) * (m->fixed ? m->planes : 1);
}

/* Says where each matrix goes. Return: bytes of the plane in memory */
static uint64_t place_parts(const struct blob *b, uint64_t *matrix_word)
{
	const struct network *n = b->network;
	uint64_t words = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		matrix_word[i] = UINT64_MAX;
		if (!matrix_wanted(n, i, b->index, b->used))
			continue;
		matrix_word[i] = b->used ? words : n->matrices[i].plane_word;
		words = bytes_align(words + part_words(&n->matrices[i]), PART_WORDS);
	}
	return b->used ? words * sizeof(uint64_t) : b->bytes;
}

static int read_parts(const struct blob *b, const uint64_t *matrix_word, uint64_t *map)
{
	const struct network *n = b->network;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++)
		if (matrix_word[i] != UINT64_MAX)
			r = fd_read_at(n->fd, map + matrix_word[i],
				part_words(&n->matrices[i]) * sizeof(uint64_t),
				b->offset + n->matrices[i].plane_word * sizeof(uint64_t));
	return r;
}

static int read_whole(const struct blob *b, void *map, struct error *reterr)
{
	uLong crc = crc32(0, NULL, 0);
	int r;

	r = fd_read_at(b->network->fd, map, b->bytes, b->offset);
	if (r < 0)
		return r;
	for (size_t done = 0; done < b->bytes; done += CRC_STEP)
		crc = crc32(crc, (const uint8_t *) map + done, (uInt) MIN_OF(CRC_STEP, b->bytes - done));
	if (crc != b->crc)
		return error_set(reterr, -EBADMSG, "the checksum is %08lx, the file says %08x", crc, b->crc);
	return 0;
}

static int fill_memfd(const struct blob *b, struct plane *p, struct error *reterr)
{
	char name[32];
	void *map = NULL;
	int r;

	if (b->index == PLANE_FIXED)
		(void) snprintf(name, sizeof name, "bitshed-plane-fixed");
	else
		(void) snprintf(name, sizeof name, "bitshed-plane-%u", b->index + 1);
	r = memfd_new(&p->fd, &map, name, p->bytes);
	if (r < 0)
		return r;
	r = b->used ? read_parts(b, p->matrix_word, map) : read_whole(b, map, reterr);
	(void) munmap(map, p->bytes);
	if (r == -ENODATA)
		r = error_set(reterr, -EBADMSG, "the file ends inside of it");
	return r < 0 ? r : memfd_seal_read_only(p->fd);
}

uint32_t plane_layout(const struct plane *p, const struct network *network)
{
	return (uint32_t) crc32(0, (const Bytef *) p->matrix_word,
		(uInt) (network->n_matrices * sizeof *p->matrix_word));
}

/* Return: a memfd that holds just these bits already, or -1 */
static int take_offer(const struct network *n, const struct plane *p)
{
	uint32_t layout = plane_layout(p, n);
	int fd = -1;

	(void) pthread_mutex_lock(&n->store->mutex);
	list_for_each_safe(l, next, &n->store->offers) {
		struct offer *o = list_entry(l, struct offer, link);

		if (fd >= 0 || o->index != p->index || o->layout != layout || o->bytes != p->bytes)
			continue;
		fd = take_fd(&o->fd);
		list_remove(&o->link);
		free(o);
	}
	(void) pthread_mutex_unlock(&n->store->mutex);
	return fd;
}

static int stored_new(struct stored **ret, const struct blob *b, struct error *reterr)
{
	_cleanup_(stored_freep) struct stored *s = NULL;
	void *map;
	int r;

	s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->plane.fd = -1;
	s->plane.index = b->index;
	s->plane.store = b->network->store;
	s->plane.matrix_word = malloc(b->network->n_matrices * sizeof *s->plane.matrix_word + 1);
	if (!s->plane.matrix_word)
		return -ENOMEM;
	s->plane.bytes = place_parts(b, s->plane.matrix_word);
	if (s->plane.bytes == 0)
		return error_set(reterr, -EBADMSG, "it is empty");
	s->plane.fd = take_offer(b->network, &s->plane);
	r = s->plane.fd >= 0 ? 0 : fill_memfd(b, &s->plane, reterr);
	if (r < 0)
		return r;
	/* Private: kernels before 6.7 refuse shared mappings of write-sealed files, even for reading. */
	map = mmap(NULL, s->plane.bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, s->plane.fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	s->plane.words = map;
	atomic_init(&s->plane.refs, 1);
	*ret = take_ptr(s);
	return 0;
}

int plane_acquire(struct plane **ret, struct network *network, uint32_t index, const bool *used,
	struct error *reterr)
{
	_cleanup_(stored_freep) struct stored *s = NULL;
	struct blob b = blob_of(network, index, used);
	struct plane *found;
	int r;

	if (index == PLANE_FIXED && network->parent)
		return plane_acquire(ret, network->parent, index, used, reterr);
	(void) pthread_mutex_lock(&network->store->mutex);
	found = find_alive(network, index, used);
	(void) pthread_mutex_unlock(&network->store->mutex);
	if (!found) {
		r = stored_new(&s, &b, reterr);
		if (r < 0)
			return index == PLANE_FIXED ? error_prefix(reterr, r, "fixed planes")
						    : error_prefix(reterr, r, "plane %u", index + 1);
		/* Somebody may have read the same one meanwhile: theirs wins, ours goes. */
		(void) pthread_mutex_lock(&network->store->mutex);
		found = find_alive(network, index, used);
		if (!found) {
			list_append(&network->store->alive, &s->link);
			found = &take_ptr(s)->plane;
		}
		(void) pthread_mutex_unlock(&network->store->mutex);
	}
	*ret = found;
	return 0;
}
