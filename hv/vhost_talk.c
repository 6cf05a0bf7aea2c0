// Guests by vhost-user, the conversation: what librte_vhost tells us, on its event thread (new_connection of a
// client and everything that unregistering causes: on the jobs thread).
//
// Callbacks never wait for the control thread: it hears by a post, and reads the newest state then.
// vring_state_changed and the message hooks run with the access locks of all rings held, and a worker in
// enqueue waits for such a lock; so only destroy_device, which runs without them, may wait for workers.
#include "vhost.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/membarrier.h>
#include <rte_vhost.h>

#include "announce.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "dp/offload.h"
#include "hole.h"
#include "vhost_check.h"

#define BIT(n) (1ULL << (n))
#define USO    (BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6) | BIT(VIRTIO_NET_F_HOST_USO))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // held for a few instructions, never while waiting
static struct vhost *owners;                             // ports that own their socket path
static struct vhost *by_vid[RTE_MAX_VHOST_DEVICE];

static struct vhost *owner_find(const char *path)
{
	struct vhost *v = owners;

	while (v != NULL && strcmp(v->path, path) != 0)
		v = v->next;
	return v;
}

static struct vhost *owner_at(const char *at)
{
	struct vhost *v = owners;

	while (v != NULL && strcmp(v->at, at) != 0)
		v = v->next;
	return v;
}

bool vhost_talk_claim(struct vhost *v, char owner[PORT_NAME_SIZE])
{
	pthread_mutex_lock(&lock);
	struct vhost *other = v->owns_path ? NULL : owner_find(v->path);

	if (other != NULL) {
		memcpy(owner, other->name, PORT_NAME_SIZE);
	} else if (!v->owns_path) {
		v->owns_path = true;
		v->next = owners;
		owners = v;
	}
	pthread_mutex_unlock(&lock);
	return other == NULL;
}

static void path_release(struct vhost *v)
{
	struct vhost **at = &owners;

	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	v->owns_path = false;
}

void vhost_talk_end(struct vhost *v, bool release)
{
	pthread_mutex_lock(&lock);
	if (v->talk.phase != VHOST_AWAY)
		by_vid[v->talk.vid] = NULL;
	v->talk.phase = VHOST_AWAY;
	if (release && v->owns_path)
		path_release(v);
	pthread_mutex_unlock(&lock);
}

struct vhost_talk vhost_talk_read(const struct vhost *v)
{
	pthread_mutex_lock(&lock);
	struct vhost_talk t = v->talk;
	pthread_mutex_unlock(&lock);
	return t;
}

static struct vhost *talk_lock(int vid)
{
	pthread_mutex_lock(&lock);
	struct vhost *v = by_vid[vid];

	if (v == NULL)
		pthread_mutex_unlock(&lock);
	return v;
}

void vhost_tell(struct vhost *v)
{
	if (!atomic_exchange(&v->told, true))
		control_post("vhost-user state", vhost_heard, v);
}

static void talk_unlock_tell(struct vhost *v)
{
	pthread_mutex_unlock(&lock);
	vhost_tell(v);
}

static void features_read(struct vhost_talk *t)
{
	rte_vhost_get_negotiated_features(t->vid, &t->features);
	t->features |= t->uso;
}

// What the guest finishes itself: checksums it verifies, segments it takes as one frame.
static uint32_t offloads_of(uint64_t features)
{
	static const struct {
		uint8_t bit;
		uint8_t offload;
	} known[] = {
	    {VIRTIO_NET_F_GUEST_CSUM, OFFLOAD_CSUM}, {VIRTIO_NET_F_GUEST_TSO4, OFFLOAD_TSO4},
	    {VIRTIO_NET_F_GUEST_TSO6, OFFLOAD_TSO6}, {VIRTIO_NET_F_GUEST_ECN, OFFLOAD_ECN},
	    {VIRTIO_NET_F_GUEST_UFO, OFFLOAD_UFO},   {VIRTIO_NET_F_GUEST_USO4, OFFLOAD_USO4},
	    {VIRTIO_NET_F_GUEST_USO6, OFFLOAD_USO6},
	};
	uint32_t offloads = 0;

	for (size_t i = 0; i < RTE_DIM(known); i++)
		if (features & BIT(known[i].bit))
			offloads |= known[i].offload;
	return offloads;
}

// Our own ring is taken over when it begins to be used, and stays taken over until a message that touches rings.
static bool ring_ready(struct vhost *v, struct vhost_ring *r)
{
	if (v->own && !r->attached && v->memory.n > 0)
		r->attached =
		    virtq_attach(&r->q, v->talk.vid, r->index, &v->memory, v->talk.features, &r->journal);
	return !v->own || r->attached;
}

// What workers may use follows from the phase and the rings that the guest has enabled. Under the lock.
static void rings_update(struct vhost *v)
{
	struct vhost_talk *t = &v->talk;
	bool run = t->phase == VHOST_RUNNING && !t->parked && t->broken[0] == '\0';
	bool up = run && t->rx_up[0] && t->tx_up[0];
	uint16_t n_active = 0;

	while (run && n_active < v->n_queues && t->rx_up[n_active])
		n_active++;
	if (!up)
		atomic_store(&v->port->live.up, false);
	t->unusable = false;
	for (uint16_t q = 0; q < v->n_queues; q++) {
		struct vhost_ring *to = &v->rings[2 * q], *from = &v->rings[2 * q + 1];
		bool sends = run && t->tx_up[q] && ring_ready(v, from);
		bool takes = run && t->rx_up[q] && ring_ready(v, to);

		t->unusable |= run && (t->tx_up[q] != sends || t->rx_up[q] != takes);
		atomic_store(&to->stop, !takes);
		if (sends)
			vhost_kick_follow(from, t->vid);
		else
			vhost_kick_forget(from);
		atomic_store(&from->stop, !sends);
		v->at_rest &= !takes && !sends;
	}
	vhost_kick_bell(v);
	atomic_store(&v->port->live.n_tx_active, n_active);
	atomic_store(&v->port->live.offloads, v->own ? offloads_of(t->features) : 0);
	atomic_store(&v->port->live.up, up && !v->rings[0].stop && !v->rings[1].stop);
}

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

int vhost_talk_init(struct err *e)
{
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0)
		return err_set(e, -errno, "vhost-user: membarrier: %s; this needs Linux 4.14 or newer",
			       err_name(errno));
	return 0;
}

// All rings are stopped. A front end that sets them up says much before they run: then there is nobody to wait for.
static void rings_wait(struct vhost *v)
{
	pthread_mutex_lock(&lock);
	bool at_rest = v->at_rest;
	pthread_mutex_unlock(&lock);
	if (at_rest)
		return;
	membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	for (uint16_t i = 0; i < 2 * v->n_queues; i++)
		while (atomic_load(&v->rings[i].busy))
			sched_yield();
	pthread_mutex_lock(&lock);
	v->at_rest = true;
	pthread_mutex_unlock(&lock);
}

// Rings are stopped. The library gets their positions, with which it answers and from which they are taken over again.
static void rings_detach(struct vhost *v)
{
	pthread_mutex_lock(&lock);
	for (uint16_t i = 0; i < 2 * v->n_queues; i++) {
		struct vhost_ring *r = &v->rings[i];

		if (r->attached)
			virtq_detach(&r->q);
		r->attached = false;
	}
	pthread_mutex_unlock(&lock);
}

// No ring uses it.
static void memory_forget(struct vhost *v)
{
	virtq_memory_forget(&v->memory, &v->hole);
	atomic_store(&v->hole, false);
}

// The library would offer 128 queue pairs, and a guest that uses more than we poll loses what it sends there.
static enum rte_vhost_msg_result answer_queue_num(const struct vhost *v, struct vhost_message *m)
{
	vhost_close_files(m);
	m->u64 = v->n_queues;
	m->size = sizeof(m->u64);
	return RTE_VHOST_MSG_RESULT_REPLY;
}

// UDP segmentation is not among the features that the library knows: it is offered and taken from the answer here.
static enum rte_vhost_msg_result answer_features(const struct vhost *v, struct vhost_message *m)
{
	uint64_t features = 0;

	rte_vhost_driver_get_features(v->at, &features);
	vhost_close_files(m);
	m->u64 = features | USO;
	m->size = sizeof(m->u64);
	return RTE_VHOST_MSG_RESULT_REPLY;
}

static bool ring_is_up(const struct vhost *v, int64_t ring)
{
	const struct vhost_talk *t = &v->talk;

	return t->phase == VHOST_RUNNING && ring >= 0 && ring < 2 * v->n_queues &&
	       (ring % 2 == 0 ? t->rx_up : t->tx_up)[ring / 2];
}

// No ring is attached. The library keeps only the log of a guest whose rings it works on itself.
static enum rte_vhost_msg_result answer_log(struct vhost *v, struct vhost_message *m)
{
	int fd = vhost_file_of(m);

	if (fd < 0)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	bool ok = virtq_log_open(&v->memory, fd, m->log.size, &v->log_hole);

	vhost_close_files(m);
	if (ok) {
		m->u64 = 0;
		m->size = sizeof(m->u64);
		return RTE_VHOST_MSG_RESULT_REPLY;
	}
	pthread_mutex_lock(&lock);
	v->talk.refused = "its dirty log cannot be mapped, or is larger than the file behind it";
	v->talk.doomed = true;
	pthread_mutex_unlock(&lock);
	return RTE_VHOST_MSG_RESULT_ERR;
}

// The library would only do it with rings that it works on itself.
static enum rte_vhost_msg_result answer_rarp(struct vhost *v, struct vhost_message *m)
{
	vhost_close_files(m);
	announce_ask(v, m->u64);
	return RTE_VHOST_MSG_RESULT_OK;
}

// Under the lock.
static enum rte_vhost_msg_result message_judge(struct vhost *v, struct vhost_message *m)
{
	struct vhost_talk *t = &v->talk;
	struct vhost_known known = {.n_rings = 2u * v->n_queues,
				    .packed = t->features & BIT(VIRTIO_F_RING_PACKED),
				    .running = ring_is_up(v, vhost_ring_of(m))};

	t->too_many_rings |= vhost_ring_of(m) >= known.n_rings;
	t->asked = m->request;
	if (m->request == VHOST_MSG_GET_QUEUE_NUM)
		return answer_queue_num(v, m);
	if (m->request == VHOST_MSG_GET_FEATURES && v->own)
		return answer_features(v, m);
	const char *wrong = vhost_check(m, &known);

	if (wrong == NULL)
		wrong = vhost_check_files(m);
	if (wrong == NULL && m->request == VHOST_MSG_SET_FEATURES && v->own) {
		t->uso = m->u64 & USO;
		m->u64 &= ~USO;
	}
	if (wrong == NULL && m->request == VHOST_MSG_SEND_RARP && v->own)
		return answer_rarp(v, m);
	if (wrong == NULL)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	t->refused = wrong;
	t->doomed = true;
	if (m->request < VHOST_MSG_POSTCOPY_ADVISE || m->request > VHOST_MSG_POSTCOPY_END)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	vhost_close_files(m);
	return RTE_VHOST_MSG_RESULT_ERR;
}

// Who knows where a ring stands. Rings are detached.
static void position_note(struct vhost *v, const struct vhost_message *m)
{
	int64_t ring = vhost_ring_of(m);

	if (ring < 0 || ring >= 2 * v->n_queues)
		return;
	if (m->request == VHOST_MSG_SET_VRING_BASE)
		v->rings[ring].journal.told = m->state.num;
	if (m->request == VHOST_MSG_GET_VRING_BASE)
		journal_end(&v->rings[ring].journal);
}

// No worker is inside when the library changes memory, rings or features. With the library's own bursts that is what its
// locks are for, which are held here and which a worker may be waiting for.
static enum rte_vhost_msg_result message_before(int vid, void *msg)
{
	struct vhost_message *m = msg;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return RTE_VHOST_MSG_RESULT_ERR;
	hole_survive(); // the library reads rings of a new memory before it is watched
	bool touches = v->own && vhost_touches_rings(m->request);
	enum rte_vhost_msg_result result = message_judge(v, m);

	if (touches) {
		v->talk.parked = true;
		rings_update(v);
	}
	pthread_mutex_unlock(&lock);
	if (touches) {
		rings_wait(v);
		rings_detach(v);
	}
	position_note(v, m);
	if (m->request == VHOST_MSG_SET_MEM_TABLE || m->request == VHOST_MSG_RESET_OWNER)
		memory_forget(v);
	if (m->request == VHOST_MSG_SET_LOG_BASE && v->own && !v->talk.doomed)
		result = answer_log(v, m);
	return result;
}

static void rings_down(struct vhost_talk *t)
{
	memset(t->rx_up, 0, sizeof(t->rx_up));
	memset(t->tx_up, 0, sizeof(t->tx_up));
}

// Is not called for a message that failed: rings then rest until one succeeds.
static enum rte_vhost_msg_result message_after(int vid, void *msg)
{
	const struct vhost_message *m = msg;
	bool memory_ok = m->request != VHOST_MSG_SET_MEM_TABLE;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	struct vhost_talk *t = &v->talk;
	enum vhost_phase phase = t->phase;
	bool unusable = t->unusable;

	if (!memory_ok && !t->doomed)
		memory_ok = virtq_memory_read(&v->memory, vid, &v->hole);
	if (memory_ok && m->request == VHOST_MSG_SET_MEM_TABLE)
		t->page_bytes = v->memory.page_bytes;
	if (!memory_ok) {
		t->refused = "its memory is larger than the file behind it";
		t->doomed = true;
	}
	if (t->doomed) {
		talk_unlock_tell(v);
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	t->asked = 0;
	t->parked = false;
	if (m->request == VHOST_MSG_SET_STATUS)
		t->status = m->u64;
	if (m->request == VHOST_MSG_RESET_OWNER)
		rings_down(t);
	if (m->request == VHOST_MSG_SET_FEATURES)
		features_read(t);
	if (m->request == VHOST_MSG_SET_FEATURES && phase == VHOST_CONNECTED)
		t->phase = VHOST_FEATURES;
	if (m->request == VHOST_MSG_SET_MEM_TABLE && phase < VHOST_MEMORY)
		t->phase = VHOST_MEMORY;
	if (v->own && vhost_touches_rings(m->request))
		rings_update(v);
	if (t->phase != phase || t->unusable != unusable)
		talk_unlock_tell(v);
	else
		pthread_mutex_unlock(&lock);
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops hooks = {
    .pre_msg_handle = message_before,
    .post_msg_handle = message_after,
};

static int new_connection(int vid)
{
	char path[sizeof(((struct vhost *)0)->path)];

	if (rte_vhost_get_ifname(vid, path, sizeof(path)) < 0 ||
	    rte_vhost_extern_callback_register(vid, &hooks, NULL) < 0)
		return -1;
	pthread_mutex_lock(&lock);
	struct vhost *v = owner_at(path);
	bool server = v != NULL && v->server;
	pthread_mutex_unlock(&lock);
	int fd = vhost_socket_bound(server, server || v == NULL ? -1 : v->likely_fd);

	pthread_mutex_lock(&lock);
	v = owner_at(path);

	if (v == NULL || v->talk.phase != VHOST_AWAY) {
		pthread_mutex_unlock(&lock);
		log_warn("socket %s: refused a second peer beside the present one", path);
		return -1;
	}
	by_vid[vid] = v;
	atomic_store(&v->rings[1].announce, 0);
	v->talk = (struct vhost_talk){.phase = VHOST_CONNECTED,
				      .vid = vid,
				      .fd = fd,
				      .n_connections = v->talk.n_connections + 1,
				      .n_left = v->talk.n_left};
	talk_unlock_tell(v);
	return 0;
}

static int new_device(int vid)
{
	uint16_t mtu = 0;

	if (rte_vhost_get_mtu(vid, &mtu) != 0)
		mtu = 0;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return -1;
	// Until a worker is about to sleep the guest need not kick. The library's rings that come up later inherit it.
	// Our own are asked where they are attached: the library writes to rings whose memory it has lost.
	for (uint16_t i = 0; !v->own && i < rte_vhost_get_vring_num(vid); i++)
		rte_vhost_enable_guest_notification(vid, i, 0);
	v->talk.phase = VHOST_RUNNING;
	v->talk.ran = true;
	v->talk.parked = false;
	v->talk.broken[0] = '\0';
	features_read(&v->talk);
	v->talk.guest_mtu = mtu;
	for (uint16_t i = 0; i < 2 * v->n_queues; i++)
		v->rings[i].vid = vid;
	rings_update(v);
	talk_unlock_tell(v);
	return 0;
}

// The guest's driver let go of the device (reset, reboot) or the peer leaves: afterwards the rings' memory is gone.
static void destroy_device(int vid)
{
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return;
	v->talk.phase = VHOST_CONNECTED;
	rings_update(v);
	talk_unlock_tell(v);
	rings_wait(v);
	rings_detach(v);
}

static int vring_state_changed(int vid, uint16_t ring, int enable)
{
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return 0;
	if (ring < 2 * v->n_queues)
		(ring % 2 == 0 ? v->talk.rx_up : v->talk.tx_up)[ring / 2] = enable != 0;
	rings_update(v);
	talk_unlock_tell(v);
	return 0;
}

static void destroy_connection(int vid)
{
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return;
	by_vid[vid] = NULL;
	v->talk.phase = VHOST_AWAY;
	v->talk.n_left++;
	rings_down(&v->talk);
	rings_update(v);
	memory_forget(v);
	virtq_log_close(&v->memory, &v->log_hole);
	talk_unlock_tell(v);
}

void vhost_talk_each(void (*fn)(struct vhost *v, void *arg), void *arg)
{
	pthread_mutex_lock(&lock);
	for (struct vhost *v = owners; v != NULL; v = v->next)
		fn(v, arg);
	pthread_mutex_unlock(&lock);
}

static void judge(struct vhost *v)
{
	struct vhost_talk *t = &v->talk;
	bool blocks = vhost_fault_free_calls(v);

	if (t->broken[0] != '\0')
		return;
	if (blocks)
		snprintf(t->broken, sizeof(t->broken), "its descriptor for interrupts blocks");
	else if (t->phase == VHOST_RUNNING && !t->parked)
		vhost_fault_print(v, t->broken, sizeof(t->broken));
	if (t->broken[0] == '\0')
		return;
	rings_update(v);
	vhost_tell(v);
}

// All that own their path, those that are being closed, too: a worker may still be inside.
void vhost_talk_judge(void)
{
	pthread_mutex_lock(&lock);
	for (struct vhost *v = owners; v != NULL; v = v->next)
		judge(v);
	pthread_mutex_unlock(&lock);
}

const struct rte_vhost_device_ops vhost_callbacks = {
    .new_connection = new_connection,
    .new_device = new_device,
    .vring_state_changed = vring_state_changed,
    .destroy_device = destroy_device,
    .destroy_connection = destroy_connection,
};
