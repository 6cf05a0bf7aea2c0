// Guests by vhost-user, the conversation: what librte_vhost tells us, on its event thread (new_connection of a
// client and everything that unregistering causes: on the jobs thread).
//
// Callbacks never wait for the control thread: it hears by a post, and reads the newest state then.
// vring_state_changed and the message hooks run with the access locks of all rings held, and a worker in
// enqueue waits for such a lock; so only destroy_device, which runs without them, may wait for workers.
#include "vhost.h"

#include <sched.h>
#include <string.h>

#include <rte_pause.h>
#include <rte_vhost.h>

#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"

#define MSG_SET_FEATURES     2
#define MSG_SET_MEM_TABLE    5
#define MSG_SET_VRING_NUM    8
#define MSG_SET_VRING_ADDR   9
#define MSG_SET_VRING_BASE   10
#define MSG_GET_QUEUE_NUM    17
#define MSG_SET_VRING_ENABLE 18

struct message { // vhost-user specification, "Message Specification"
	uint32_t request, flags, size;
	uint64_t u64;
} __attribute__((packed));

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

// What workers may use follows from the phase and the rings that the guest has enabled. Under the lock.
static void rings_update(struct vhost *v)
{
	const struct vhost_talk *t = &v->talk;
	bool run = t->phase == VHOST_RUNNING;
	bool up = run && t->rx_up[0] && t->tx_up[0];
	uint16_t n_active = 0;

	while (run && n_active < v->n_queues && t->rx_up[n_active])
		n_active++;
	if (!up)
		atomic_store(&v->port->live.up, false);
	for (uint16_t q = 0; q < v->n_queues; q++) {
		struct vhost_ring *from = &v->rings[2 * q + 1];
		bool sends = run && t->tx_up[q];

		atomic_store(&v->rings[2 * q].stop, !(run && t->rx_up[q]));
		if (sends)
			vhost_kick_follow(from, t->vid);
		else
			vhost_kick_forget(from);
		atomic_store(&from->stop, !sends);
	}
	vhost_kick_bell(v);
	atomic_store(&v->port->live.n_tx_active, n_active);
	if (up)
		atomic_store(&v->port->live.up, true);
}

static void rings_wait(struct vhost *v)
{
	for (uint16_t i = 0; i < 2 * v->n_queues; i++)
		while (atomic_load(&v->rings[i].busy))
			sched_yield();
}

static bool message_names_ring(const struct message *m)
{
	return (m->request >= MSG_SET_VRING_NUM && m->request <= MSG_SET_VRING_BASE) ||
	       m->request == MSG_SET_VRING_ENABLE;
}

// The library would offer 128 queue pairs, and a guest that uses more than we poll loses what it sends there.
static enum rte_vhost_msg_result answer_queue_num(const struct vhost *v, struct message *m)
{
	m->u64 = v->n_queues;
	m->size = sizeof(m->u64);
	return RTE_VHOST_MSG_RESULT_REPLY;
}

static enum rte_vhost_msg_result message_before(int vid, void *msg)
{
	enum rte_vhost_msg_result result = RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	struct message *m = msg;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return RTE_VHOST_MSG_RESULT_ERR;
	v->talk.asked = m->request;
	if (m->request == MSG_GET_QUEUE_NUM)
		result = answer_queue_num(v, m);
	// In all these messages the ring's number stands in the first four bytes.
	if (message_names_ring(m) && (uint32_t)m->u64 >= 2u * v->n_queues) {
		v->talk.too_many_rings = true;
		result = RTE_VHOST_MSG_RESULT_ERR;
	}
	pthread_mutex_unlock(&lock);
	return result;
}

// Is not called for a message that failed.
static enum rte_vhost_msg_result message_after(int vid, void *msg)
{
	const struct message *m = msg;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	enum vhost_phase phase = v->talk.phase;

	v->talk.asked = 0;
	if (m->request == MSG_SET_FEATURES && phase == VHOST_CONNECTED)
		v->talk.phase = VHOST_FEATURES;
	if (m->request == MSG_SET_MEM_TABLE && phase < VHOST_MEMORY)
		v->talk.phase = VHOST_MEMORY;
	if (v->talk.phase != phase)
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
	struct vhost *v = owner_find(path);

	if (v == NULL || v->talk.phase != VHOST_AWAY) {
		pthread_mutex_unlock(&lock);
		log_warn("socket %s: refused a second peer beside the present one", path);
		return -1;
	}
	by_vid[vid] = v;
	v->talk = (struct vhost_talk){.phase = VHOST_CONNECTED,
				      .vid = vid,
				      .n_connections = v->talk.n_connections + 1,
				      .n_left = v->talk.n_left};
	talk_unlock_tell(v);
	return 0;
}

static int new_device(int vid)
{
	uint16_t mtu = 0;
	uint64_t features = 0;

	// Until a worker is about to sleep the guest need not kick. Rings that come up later inherit it from the library.
	for (uint16_t i = 0; i < rte_vhost_get_vring_num(vid); i++)
		rte_vhost_enable_guest_notification(vid, i, 0);
	rte_vhost_get_negotiated_features(vid, &features);
	if (rte_vhost_get_mtu(vid, &mtu) != 0)
		mtu = 0;
	struct vhost *v = talk_lock(vid);

	if (v == NULL)
		return -1;
	v->talk.phase = VHOST_RUNNING;
	v->talk.ran = true;
	v->talk.features = features;
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
	memset(v->talk.rx_up, 0, sizeof(v->talk.rx_up));
	memset(v->talk.tx_up, 0, sizeof(v->talk.tx_up));
	rings_update(v);
	talk_unlock_tell(v);
}

const struct rte_vhost_device_ops vhost_callbacks = {
    .new_connection = new_connection,
    .new_device = new_device,
    .vring_state_changed = vring_state_changed,
    .destroy_device = destroy_device,
    .destroy_connection = destroy_connection,
};
